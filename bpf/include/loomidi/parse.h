/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Cursor parser, the same for XDP, tc and user space. Each parser checks its bounds once and returns what comes next,
 * or -reason. In: octets between cursor.at and cursor.end. Out: struct lm_packet, filled but for at_ns and
 * wire_octets, which the caller sets first. Pure: no globals, no allocation.
 *
 * Sources: IEEE 802.1Q/802.1ad (tags), RFC 3032 (MPLS), RFC 2516 (PPPoE), RFC 791, RFC 8200 (extension headers),
 * RFC 7348 (VXLAN), RFC 8926 (Geneve).
 */
#ifndef LOOMIDI_PARSE_H
#define LOOMIDI_PARSE_H

#include <loomidi/wire.h>

#define LM_VLAN_MAX 2
#define LM_MPLS_MAX 4
#define LM_EXTENSION_MAX 8

#ifndef LM_INNER
#define LM_INNER 0 /* parse what is inside VXLAN and Geneve */
#endif

enum lm_ethertype {
	LM_ETH_IPV4 = 0x0800,
	LM_ETH_IPV6 = 0x86DD,
	LM_ETH_VLAN = 0x8100,
	LM_ETH_QINQ = 0x88A8,
	LM_ETH_QINQ_OLD = 0x9100,
	LM_ETH_MPLS = 0x8847,
	LM_ETH_MPLS_MULTICAST = 0x8848,
	LM_ETH_PPPOE = 0x8864,
	LM_ETH_BRIDGED = 0x6558,
};

enum lm_protocol {
	LM_HOPOPTS = 0,
	LM_ICMP = 1,
	LM_TCP = 6,
	LM_UDP = 17,
	LM_DCCP = 33,
	LM_ROUTING = 43,
	LM_FRAGMENT = 44,
	LM_AUTH = 51,
	LM_ICMPV6 = 58,
	LM_DESTOPTS = 60,
	LM_SCTP = 132,
	LM_MOBILITY = 135,
	LM_UDPLITE = 136,
	LM_HIP = 139,
	LM_SHIM6 = 140,
};

enum lm_port {
	LM_PORT_VXLAN = 4789,
	LM_PORT_VXLAN_OLD = 8472,
	LM_PORT_GENEVE = 6081,
};

struct lm_cursor {
	const __u8 *at;
	const __u8 *end;
	const __u8 *from; /* start of the frame; only the kernel's lm_settle reads it */
};

/*
 * Keeps the value of an outlined function alive. Where nobody uses it, clang leaves r0 as it happens to be, and the verifier
 * refuses the function ("cannot return stack pointer to the caller").
 */
LM_INLINE void lm_keep(int value)
{
	__asm__ volatile("" : : "r"(value));
}

/*
 * Tells the verifier to forget by which way the cursor came here, so that the paths meet again instead of multiplying.
 * 0 when the cursor is further than any header may be (never on a frame that fits a page).
 */
#ifdef __bpf__
#define LM_HEADERS_MAX 4095
LM_INLINE int lm_settle(struct lm_cursor *c)
{
	__u64 offset = (__u64)(c->at - c->from);

	asm volatile("" : "+r"(offset));
	if (offset > LM_HEADERS_MAX)
		return 0;
	c->at = c->from + offset;
	return 1;
}
#else
LM_INLINE int lm_settle(struct lm_cursor *c)
{
	(void)c;
	return 1;
}
#endif

/*
 * Loads of any alignment. BPF: one instruction, which the verifier allows where the machine does (as any program that
 * reads struct iphdr in a packet); user space: memcpy, which the compiler makes one instruction of.
 */
LM_INLINE __u16 lm_load16(const __u8 *p)
{
#ifdef __bpf__
	return *(const __u16 *)(const void *)p;
#else
	__u16 x;

	__builtin_memcpy(&x, p, sizeof(x));
	return x;
#endif
}

LM_INLINE __u32 lm_load32(const __u8 *p)
{
#ifdef __bpf__
	return *(const __u32 *)(const void *)p;
#else
	__u32 x;

	__builtin_memcpy(&x, p, sizeof(x));
	return x;
#endif
}

LM_INLINE __u64 lm_load64(const __u8 *p)
{
#ifdef __bpf__
	return *(const __u64 *)(const void *)p;
#else
	__u64 x;

	__builtin_memcpy(&x, p, sizeof(x));
	return x;
#endif
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LM_BIG16(x) __builtin_bswap16(x)
#define LM_BIG32(x) __builtin_bswap32(x)
#define LM_MAPPED_LO(x) ((__u64)(x) << 32 | 0xffff0000U)
#else
#define LM_BIG16(x) (x)
#define LM_BIG32(x) (x)
#define LM_MAPPED_LO(x) (0xffff00000000ULL | (x))
#endif

LM_INLINE __u16 lm_be16(const __u8 *p)
{
	return LM_BIG16(lm_load16(p));
}

LM_INLINE __u32 lm_be32(const __u8 *p)
{
	return LM_BIG32(lm_load32(p));
}

LM_INLINE int lm_has(const struct lm_cursor *c, __u32 octets)
{
	return c->at + octets <= c->end;
}

LM_INLINE struct lm_addr lm_mapped(const __u8 *p)
{
	struct lm_addr a = {0, LM_MAPPED_LO(lm_load32(p))};

	return a;
}

/*
 * Returns the EtherType behind up to LM_VLAN_MAX tags, or -reason. `taken` of them were taken out of the frame and put
 * into *p by the caller (tc: the kernel keeps the outer tag beside the frame).
 */
LM_INLINE int lm_parse_tags(struct lm_cursor *c, struct lm_packet *p, int taken)
{
	int type;

	if (!lm_has(c, 14))
		return -LM_UNPARSED_SHORT;
	type = lm_be16(c->at + 12);
	c->at += 14;
	LM_UNROLL
	for (int i = 0; i <= LM_VLAN_MAX; i++) {
		if (i < taken)
			continue;
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

/* Returns the EtherType behind up to LM_VLAN_MAX tags, or -reason. */
LM_INLINE int lm_parse_ethernet(struct lm_cursor *c, struct lm_packet *p)
{
	return lm_parse_tags(c, p, 0);
}

/* Behind the bottom label the version nibble tells IPv4 from IPv6 (RFC 4928). */
LM_INLINE int lm_parse_mpls(struct lm_cursor *c)
{
	LM_UNROLL
	for (int i = 0; i < LM_MPLS_MAX; i++) {
		__u8 bottom;

		if (!lm_has(c, 5))
			return -LM_UNPARSED_SHORT;
		bottom = c->at[2] & 1;
		c->at += 4;
		if (!bottom)
			continue;
		if (c->at[0] >> 4 == 4)
			return LM_ETH_IPV4;
		return c->at[0] >> 4 == 6 ? LM_ETH_IPV6 : -LM_UNPARSED_NOT_IP;
	}
	return -LM_UNPARSED_VLAN;
}

LM_INLINE int lm_parse_pppoe(struct lm_cursor *c)
{
	int ppp;

	if (!lm_has(c, 8))
		return -LM_UNPARSED_SHORT;
	ppp = lm_be16(c->at + 6);
	c->at += 8;
	if (ppp == 0x0021)
		return LM_ETH_IPV4;
	return ppp == 0x0057 ? LM_ETH_IPV6 : -LM_UNPARSED_NOT_IP;
}

/* Returns the transport protocol, or -reason. `room` is what is left of the frame on the wire. */
LM_INLINE int lm_parse_ipv4(struct lm_cursor *c, struct lm_packet *p, __u32 room)
{
	__u32 header, total;
	__u16 offset;
	const __u8 *ip = c->at;
	int protocol;

	if (!lm_has(c, 20))
		return -LM_UNPARSED_SHORT;
	header = (ip[0] & 0x0fU) * 4;
	total = lm_be16(ip + 2);
	if (total == 0) /* segmentation offload: the length is the frame's */
		total = room;
	if (ip[0] >> 4 != 4 || header < 20 || total < header)
		return -LM_UNPARSED_IP;
	offset = lm_be16(ip + 6);
	p->ip_version = 4;
	p->ip_octets = total;
	p->header_octets = header;
	p->source = lm_mapped(ip + 12);
	p->destination = lm_mapped(ip + 16);
	if (offset & 0x1fff)
		p->fragment = LM_FRAGMENT_LATER;
	else if (offset & 0x2000)
		p->fragment = LM_FRAGMENT_FIRST;
	protocol = ip[9];
	if (lm_has(c, header))
		c->at += header;
	else
		p->cut = 1; /* in the options: addresses are known, ports are not */
	return protocol;
}

LM_INLINE int lm_is_extension(int next)
{
	return next == LM_HOPOPTS || next == LM_ROUTING || next == LM_FRAGMENT || next == LM_DESTOPTS ||
	       next == LM_AUTH || next == LM_MOBILITY || next == LM_HIP || next == LM_SHIM6;
}

/* Octets of one extension header, from its first two. */
LM_INLINE __u32 lm_extension_octets(int next, const __u8 *at)
{
	if (next == LM_FRAGMENT)
		return 8;
	return next == LM_AUTH ? (at[1] + 2U) * 4 : (at[1] + 1U) * 8;
}

LM_INLINE int lm_parse_ipv6(struct lm_cursor *c, struct lm_packet *p, __u32 room)
{
	const __u8 *ip = c->at;
	__u32 payload;
	int next;

	if (!lm_has(c, 40))
		return -LM_UNPARSED_SHORT;
	if (ip[0] >> 4 != 6)
		return -LM_UNPARSED_IP;
	payload = lm_be16(ip + 4);
	p->ip_version = 6;
	p->ip_octets = payload ? payload + 40 : room; /* 0: jumbogram or segmentation offload */
	p->header_octets = 40;
	p->source.hi = lm_load64(ip + 8);
	p->source.lo = lm_load64(ip + 16);
	p->destination.hi = lm_load64(ip + 24);
	p->destination.lo = lm_load64(ip + 32);
	next = ip[6];
	c->at += 40;
	for (int i = 0; i < LM_EXTENSION_MAX; i++) {
		__u32 octets;

		if (!lm_is_extension(next) || p->fragment == LM_FRAGMENT_LATER)
			return next;
		if (!lm_has(c, 8))
			return -LM_UNPARSED_SHORT;
		octets = lm_extension_octets(next, c->at);
		if (next == LM_FRAGMENT && (lm_be16(c->at + 2) & 0xfff9))
			p->fragment = lm_be16(c->at + 2) & 0xfff8 ? LM_FRAGMENT_LATER : LM_FRAGMENT_FIRST;
		next = c->at[0];
		p->header_octets += octets;
		if (!lm_has(c, octets))
			return -LM_UNPARSED_SHORT;
		c->at += octets;
		if (!lm_settle(c))
			return -LM_UNPARSED_EXTENSIONS;
	}
	return lm_is_extension(next) ? -LM_UNPARSED_EXTENSIONS : next;
}

LM_INLINE void lm_parse_tcp(struct lm_cursor *c, struct lm_packet *p)
{
	if (!lm_has(c, 16))
		return; /* a tiny first fragment: flags and window are unknown, ports are known */
	p->tcp_flags = c->at[13];
	p->window = lm_be16(c->at + 14);
	p->header_octets += (c->at[12] >> 4) * 4U;
}

/* Fills ports (or ICMP type and code), flags, header octets. What is cut off stays 0: the packet still counts. */
LM_INLINE void lm_parse_transport(struct lm_cursor *c, struct lm_packet *p)
{
	if (p->fragment == LM_FRAGMENT_LATER || p->cut)
		return;
	switch (p->protocol) {
	case LM_ICMP:
	case LM_ICMPV6:
		if (!lm_has(c, 2))
			return;
		p->icmp_type = c->at[0];
		p->icmp_code = c->at[1];
		p->header_octets += 8;
		return;
	case LM_TCP:
	case LM_UDP:
	case LM_UDPLITE:
	case LM_SCTP:
	case LM_DCCP:
		if (!lm_has(c, 4))
			return;
		p->source_port = lm_be16(c->at);
		p->destination_port = lm_be16(c->at + 2);
		if (p->protocol == LM_TCP)
			lm_parse_tcp(c, p);
		else
			p->header_octets += p->protocol == LM_UDP || p->protocol == LM_UDPLITE ? 8 : 12;
		return;
	default:
		return;
	}
}

/* From an EtherType on. `room` is what the frame has left on the wire. Returns 0 or -reason. */
LM_INLINE int lm_parse_network(struct lm_cursor *c, struct lm_packet *p, int type, __u32 room)
{
	const __u8 *from = c->at;
	int protocol;

	if (type == LM_ETH_MPLS || type == LM_ETH_MPLS_MULTICAST)
		type = lm_parse_mpls(c);
	else if (type == LM_ETH_PPPOE)
		type = lm_parse_pppoe(c);
	if (type < 0)
		return type;
	if (!lm_settle(c))
		return -LM_UNPARSED_SHORT;
	room -= (__u32)(c->at - from);
	if (type == LM_ETH_IPV4)
		protocol = lm_parse_ipv4(c, p, room);
	else if (type == LM_ETH_IPV6)
		protocol = lm_parse_ipv6(c, p, room);
	else
		return -LM_UNPARSED_NOT_IP;
	if (protocol < 0)
		return protocol;
	if (!lm_settle(c))
		return -LM_UNPARSED_SHORT;
	p->protocol = (__u8)protocol;
	lm_parse_transport(c, p);
	p->payload_octets = p->ip_octets > p->header_octets ? p->ip_octets - p->header_octets : 0;
	return 0;
}

/* Octets from the UDP header to the inner Ethernet header; 0 when it is no tunnel. Sets the id. */
LM_INLINE __u32 lm_tunnel_header(const struct lm_cursor *c, struct lm_packet *p)
{
	const __u8 *at = c->at + 8;

	if (p->protocol != LM_UDP || p->fragment != LM_FRAGMENT_NONE || !lm_has(c, 16))
		return 0;
	if ((p->destination_port == LM_PORT_VXLAN || p->destination_port == LM_PORT_VXLAN_OLD) && at[0] & 0x08) {
		p->tunnel = LM_TUNNEL_VXLAN;
		p->tunnel_id = lm_be32(at + 4) >> 8;
		return 16;
	}
	if (p->destination_port == LM_PORT_GENEVE && at[0] >> 6 == 0 && lm_be16(at + 2) == LM_ETH_BRIDGED) {
		p->tunnel = LM_TUNNEL_GENEVE;
		p->tunnel_id = lm_be32(at + 4) >> 8;
		return 16 + (at[0] & 0x3fU) * 4;
	}
	return 0;
}

/* Replaces the outer packet by the inner one when there is a tunnel and the inner headers parse. */
LM_INLINE void lm_parse_inner(struct lm_cursor *c, struct lm_packet *p, __u32 room)
{
	const __u8 *from = c->at;
	struct lm_packet inner = {};
	__u32 skip;
	int type;

	inner.tunnel = LM_TUNNEL_NONE;
	skip = lm_tunnel_header(c, p);
	if (!skip)
		return;
	inner.tunnel = p->tunnel;
	inner.tunnel_id = p->tunnel_id;
	p->tunnel = LM_TUNNEL_NONE; /* until the inner packet is known to be one */
	p->tunnel_id = 0;
	if (!lm_has(c, skip))
		return;
	c->at += skip;
	type = lm_parse_ethernet(c, &inner);
	if (type < 0 || (__u32)(c->at - from) > room)
		return;
	if (lm_parse_network(c, &inner, type, room - (__u32)(c->at - from)))
		return;
	inner.at_ns = p->at_ns;
	inner.wire_octets = p->wire_octets;
	*p = inner;
}

/* One Ethernet frame of which `taken` VLAN tags were taken out; p->wire_octets counts them. Returns 0 or -reason. */
LM_INLINE int lm_parse_tagged(struct lm_cursor *c, struct lm_packet *p, int taken, int inner)
{
	const __u8 *from = c->at;
	int type, status;
	__u32 used;

	type = lm_parse_tags(c, p, taken);
	if (type < 0)
		return type;
	used = (__u32)(c->at - from) + 4U * taken;
	status = lm_parse_network(c, p, type, p->wire_octets - used);
	if (status || !inner)
		return status;
	used = (__u32)(c->at - from) + 4U * taken;
	lm_parse_inner(c, p, p->wire_octets - used);
	return 0;
}

/*
 * One Ethernet frame. at_ns and wire_octets of *p are set by the caller, the rest is zero. `inner` asks for the packet
 * inside VXLAN and Geneve. Returns 0 or -reason (enum lm_reason).
 */
LM_INLINE int lm_parse_frame(struct lm_cursor *c, struct lm_packet *p, int inner)
{
	return lm_parse_tagged(c, p, 0, inner);
}

#endif
