/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From a frame of any known link type to the network layer. Called by meter.c for captures and AF_PACKET; Ethernet goes
 * straight to parse.h. Numbers are LINKTYPE_ values, with the DLT_ values that differ between systems and were written
 * into files all the same. Sources: the LINKTYPE_ list of tcpdump.org, RFC 1661 and 1662 (PPP), IEEE 802.11 and 802.2.
 */
#ifndef LOOMIDI_LINKTYPE_H
#define LOOMIDI_LINKTYPE_H

#include <loomidi/parse.h>

enum lm_linktype {
	LM_LINK_NULL = 0,
	LM_LINK_ETHERNET = 1,
	LM_LINK_PPP = 9,
	LM_LINK_RAW_BSD = 12,
	LM_LINK_RAW_OPENBSD = 14,
	LM_LINK_PPP_HDLC = 50,
	LM_LINK_PPP_ETHER = 51,
	LM_LINK_RAW = 101,
	LM_LINK_C_HDLC = 104,
	LM_LINK_WIFI = 105,
	LM_LINK_LOOP = 108,
	LM_LINK_SLL = 113,
	LM_LINK_RADIOTAP = 127,
	LM_LINK_IPV4 = 228,
	LM_LINK_IPV6 = 229,
	LM_LINK_SLL2 = 276,
};

/* Tags behind an EtherType that did not come from an Ethernet header. */
LM_INLINE int lm_link_tags(struct lm_cursor *c, struct lm_packet *p, int type)
{
	for (int i = 0; i <= LM_VLAN_MAX; i++) {
		if (type != LM_ETH_VLAN && type != LM_ETH_QINQ && type != LM_ETH_QINQ_OLD)
			return type;
		if (i == LM_VLAN_MAX)
			break;
		if (!lm_has(c, 4))
			return -LM_UNPARSED_SHORT;
		if (i == 0)
			p->vlan = lm_be16(c->at) & 0x0fff;
		else
			p->vlan_inner = lm_be16(c->at) & 0x0fff;
		type = lm_be16(c->at + 2);
		c->at += 4;
	}
	return -LM_UNPARSED_VLAN;
}

/* `octets` of header with an EtherType at `at`. */
LM_INLINE int lm_link_ethertype(struct lm_cursor *c, struct lm_packet *p, __u32 octets, __u32 at)
{
	int type;

	if (!lm_has(c, octets))
		return -LM_UNPARSED_SHORT;
	type = lm_be16(c->at + at);
	c->at += octets;
	return lm_link_tags(c, p, type);
}

LM_INLINE int lm_link_raw(struct lm_cursor *c)
{
	if (!lm_has(c, 1))
		return -LM_UNPARSED_SHORT;
	if (c->at[0] >> 4 == 4)
		return LM_ETH_IPV4;
	return c->at[0] >> 4 == 6 ? LM_ETH_IPV6 : -LM_UNPARSED_IP;
}

/* Four octets of address family in the byte order of whoever wrote it; IPv6 has had four numbers. */
LM_INLINE int lm_link_family(struct lm_cursor *c)
{
	__u32 family;

	if (!lm_has(c, 4))
		return -LM_UNPARSED_SHORT;
	family = lm_be32(c->at);
	if (family & 0xffff0000)
		family = __builtin_bswap32(family);
	c->at += 4;
	if (family == 2)
		return LM_ETH_IPV4;
	return family == 10 || family == 24 || family == 28 || family == 30 ? LM_ETH_IPV6 : -LM_UNPARSED_NOT_IP;
}

/* Address and control may be left out, and the protocol may be one octet (RFC 1661 section 6.5 and 6.6). */
LM_INLINE int lm_link_ppp(struct lm_cursor *c)
{
	int protocol;

	if (lm_has(c, 2) && (c->at[0] == 0xff || c->at[0] == 0x0f) && (c->at[1] == 0x03 || c->at[1] == 0x00)) {
		int cisco = c->at[0] == 0x0f || c->at[1] == 0x00;

		c->at += 2;
		if (cisco) { /* Cisco HDLC in a PPP capture: an EtherType follows */
			protocol = lm_has(c, 2) ? lm_be16(c->at) : -LM_UNPARSED_SHORT;
			c->at += 2;
			return protocol;
		}
	}
	if (!lm_has(c, 2))
		return -LM_UNPARSED_SHORT;
	protocol = c->at[0];
	c->at += 1;
	if (!(protocol & 1)) {
		protocol = protocol << 8 | c->at[0];
		c->at += 1;
	}
	if (protocol == 0x0021)
		return LM_ETH_IPV4;
	if (protocol == 0x0057)
		return LM_ETH_IPV6;
	return protocol == 0x0281 ? LM_ETH_MPLS : -LM_UNPARSED_NOT_IP;
}

/* Data frames that are not encrypted, with LLC/SNAP. */
LM_INLINE int lm_link_wifi(struct lm_cursor *c, struct lm_packet *p)
{
	__u32 octets = 24;
	__u16 control;

	if (!lm_has(c, 2))
		return -LM_UNPARSED_SHORT;
	control = (__u16)(c->at[0] | c->at[1] << 8);
	if ((control & 0x000c) != 0x0008 || control & 0x4040) /* not data, without a body, or protected */
		return -LM_UNPARSED_NOT_IP;
	if ((control & 0x0300) == 0x0300)
		octets += 6; /* fourth address */
	if (control & 0x0080)
		octets += control & 0x8000 ? 6 : 2; /* QoS, and HT control */
	if (!lm_has(c, octets + 8))
		return -LM_UNPARSED_SHORT;
	c->at += octets;
	if (c->at[0] != 0xaa || c->at[1] != 0xaa || c->at[2] != 0x03)
		return -LM_UNPARSED_NOT_IP;
	return lm_link_ethertype(c, p, 8, 6);
}

LM_INLINE int lm_link_radiotap(struct lm_cursor *c, struct lm_packet *p)
{
	__u32 octets;

	if (!lm_has(c, 4))
		return -LM_UNPARSED_SHORT;
	octets = c->at[2] | (__u32)c->at[3] << 8;
	if (octets < 8 || !lm_has(c, octets))
		return -LM_UNPARSED_SHORT;
	c->at += octets;
	return lm_link_wifi(c, p);
}

/* The EtherType behind the link header, or -reason. */
LM_INLINE int lm_link_type(struct lm_cursor *c, struct lm_packet *p, __u32 link)
{
	switch (link) {
	case LM_LINK_ETHERNET:
		return lm_parse_ethernet(c, p);
	case LM_LINK_RAW:
	case LM_LINK_RAW_BSD:
	case LM_LINK_RAW_OPENBSD:
	case LM_LINK_IPV4:
	case LM_LINK_IPV6:
		return lm_link_raw(c);
	case LM_LINK_NULL:
	case LM_LINK_LOOP:
		return lm_link_family(c);
	case LM_LINK_PPP:
	case LM_LINK_PPP_HDLC:
		return lm_link_ppp(c);
	case LM_LINK_PPP_ETHER:
		return lm_parse_pppoe(c);
	case LM_LINK_C_HDLC:
		return lm_link_ethertype(c, p, 4, 2);
	case LM_LINK_SLL:
		return lm_link_ethertype(c, p, 16, 14);
	case LM_LINK_SLL2:
		return lm_link_ethertype(c, p, 20, 0);
	case LM_LINK_WIFI:
		return lm_link_wifi(c, p);
	case LM_LINK_RADIOTAP:
		return lm_link_radiotap(c, p);
	default:
		return -LM_UNPARSED_LINK;
	}
}

/* As lm_parse_frame, for any link type. */
LM_INLINE int lm_parse_link(struct lm_cursor *c, struct lm_packet *p, __u32 link, int inner)
{
	const __u8 *from = c->at;
	int type, status;

	if (link == LM_LINK_ETHERNET)
		return lm_parse_frame(c, p, inner);
	type = lm_link_type(c, p, link);
	if (type < 0)
		return type;
	status = lm_parse_network(c, p, type, p->wire_octets - (__u32)(c->at - from));
	if (status || !inner)
		return status;
	lm_parse_inner(c, p, p->wire_octets - (__u32)(c->at - from));
	return 0;
}

#endif
