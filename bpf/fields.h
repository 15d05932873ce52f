/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The fields of an exported flow, in order: those of FLOWS in src/loomidi/contracts/schemas.py. Read by schema.c, which
 * describes them to Arrow, and columns.c, which fills them.
 */
#ifndef LOOMIDI_FIELDS_H
#define LOOMIDI_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#define LM_ADDRESS_TEXT 40U /* 39 of IPv6 and one spare */
#define LM_WORD_TEXT 8U	    /* end reasons and tunnel names */

struct lm_field {
	const char *name;
	const char *format; /* of the Arrow C data interface */
	const char *item;   /* format of the list's items */
	uint32_t octets;    /* of a value; of text the most it can have */
	int nullable;
};

#define LM_U64(name)                                                                                                   \
	{                                                                                                              \
		name, "L", NULL, 8, 0                                                                                  \
	}
#define LM_U32(name)                                                                                                   \
	{                                                                                                              \
		name, "I", NULL, 4, 0                                                                                  \
	}
#define LM_U16(name)                                                                                                   \
	{                                                                                                              \
		name, "S", NULL, 2, 0                                                                                  \
	}
#define LM_U8(name)                                                                                                    \
	{                                                                                                              \
		name, "C", NULL, 1, 0                                                                                  \
	}
#define LM_TIME(name)                                                                                                  \
	{                                                                                                              \
		name, "tsn:UTC", NULL, 8, 0                                                                            \
	}
#define LM_F64_NULL(name)                                                                                              \
	{                                                                                                              \
		name, "g", NULL, 8, 1                                                                                  \
	}
#define LM_STAT(name, unit)                                                                                            \
	{name "_min" unit, "L", NULL, 8, 1}, {name "_mean" unit, "g", NULL, 8, 1},                                     \
		{name "_std" unit, "g", NULL, 8, 1},                                                                   \
	{                                                                                                              \
		name "_max" unit, "L", NULL, 8, 1                                                                      \
	}
#define LM_SIDE(of)                                                                                                    \
	LM_U64(of "packet_delta_count"), LM_U64(of "octet_delta_count"), LM_U64(of "layer2_octet_delta_count"),        \
		LM_U64(of "payload_octet_count"), LM_U64(of "header_octet_count"), LM_U32(of "tcp_fin_total_count"),   \
		LM_U32(of "tcp_syn_total_count"), LM_U32(of "tcp_rst_total_count"), LM_U32(of "tcp_psh_total_count"),  \
		LM_U32(of "tcp_ack_total_count"), LM_U32(of "tcp_urg_total_count"), LM_U32(of "tcp_ece_total_count"),  \
		LM_U32(of "tcp_cwr_total_count"), {of "tcp_initial_window_size", "S", NULL, 2, 1},                     \
		LM_STAT(of "packet_size", ""), LM_STAT(of "inter_arrival", "_ns"),                                     \
		LM_U32(of "reordered_packet_count"), LM_U32(of "fragment_count")

static const struct lm_field lm_fields[] = {
	LM_U64("flow_id"),
	LM_TIME("flow_start_nanoseconds"),
	LM_TIME("flow_end_nanoseconds"),
	LM_U64("flow_duration_nanoseconds"),
	{"flow_end_reason", "u", NULL, LM_WORD_TEXT, 0},
	LM_U8("ip_version"),
	LM_U8("protocol_identifier"),
	{"source_ip_address", "u", NULL, LM_ADDRESS_TEXT, 0},
	{"destination_ip_address", "u", NULL, LM_ADDRESS_TEXT, 0},
	LM_U16("source_transport_port"),
	LM_U16("destination_transport_port"),
	{"icmp_type", "C", NULL, 1, 1},
	{"icmp_code", "C", NULL, 1, 1},
	LM_U16("dot1q_vlan_id"),
	LM_U16("dot1q_customer_vlan_id"),
	{"tunnel_type", "u", NULL, LM_WORD_TEXT, 1},
	{"layer2_segment_id", "I", NULL, 4, 1},
	LM_SIDE(""),
	LM_SIDE("reverse_"),
	LM_STAT("flow_packet_size", ""),
	LM_STAT("flow_inter_arrival", "_ns"),
	LM_STAT("active", "_ns"),
	LM_STAT("idle", "_ns"),
	LM_F64_NULL("packets_per_second"),
	LM_F64_NULL("octets_per_second"),
	{"splt_direction", "+l", "C", 1, 0},
	{"splt_packet_size", "+l", "S", 2, 0},
	{"splt_inter_arrival_ns", "+l", "L", 8, 0},
};

#define LM_FIELDS (sizeof(lm_fields) / sizeof(lm_fields[0]))

static inline int lm_is_list(const struct lm_field *f)
{
	return f->item != NULL;
}

static inline int lm_is_text(const struct lm_field *f)
{
	return f->format[0] == 'u';
}

#endif
