/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What happens to a packet on the link of a pod that is cut off. The link tells whose packet it is, so no address that
 * a pod makes up helps it. Included by cut.bpf.c, which brings the maps and the clock. Order, repeated in the code:
 *   1 no cut for this link, or its time is over: everything passes
 *   2 ARP between the pod under its own address and its node passes, so that the node can still reach it
 *   3 the protected set: what a process of the node sends to the pod, and what answers it over TCP
 *   4 all else is dropped, whatever it is, in both directions
 */
#ifndef LOOMIDI_CUT_H
#define LOOMIDI_CUT_H

#include <loomidi/parse.h>
#include <loomidi/wire.h>

#define LM_ARP_OCTETS 42 /* Ethernet header and ARP for IPv4 */
#define LM_ETH_ARP 0x0806

/* One packet on one link. */
struct lm_passage {
	struct lm_packet packet;
	struct lm_cut *cut;
	__u64 now_ns;
	int to_pod; /* else from it */
	int local;  /* a process of this node sent it */
};

LM_INLINE int lm_same_address(const struct lm_addr *a, const struct lm_addr *b)
{
	return a->hi == b->hi && a->lo == b->lo;
}

/* 2: `frame` is a whole Ethernet frame. A pod that could speak ARP for others would draw their packets to itself. */
LM_INLINE int lm_cut_arp(const struct lm_passage *at, const struct lm_cursor *frame)
{
	const __u8 *arp = frame->from + 14;
	struct lm_addr sender, target;

	if (frame->from + LM_ARP_OCTETS > frame->end || lm_be16(frame->from + 12) != LM_ETH_ARP)
		return 0;
	if (lm_be16(arp) != 1 || lm_be16(arp + 2) != LM_ETH_IPV4 || !at->cut->own.lo)
		return 0;
	sender = lm_mapped(arp + 14);
	target = lm_mapped(arp + 24);
	if (at->to_pod)
		return lm_same_address(&target, &at->cut->own) && lm_cut_spared(&sender);
	return lm_same_address(&sender, &at->cut->own) && lm_cut_spared(&target);
}

/* 3: an address can be made up, so towards the pod the sender's socket counts too, and from it no more than answers. */
LM_INLINE int lm_cut_protected(const struct lm_passage *at)
{
	const struct lm_packet *p = &at->packet;

	if (at->to_pod)
		return at->local && lm_cut_spared(&p->source);
	if (p->protocol != LM_TCP || p->fragment != LM_FRAGMENT_NONE || p->cut)
		return 0;
	return (p->tcp_flags & (LM_SYN | LM_ACK)) != LM_SYN && lm_cut_spared(&p->destination);
}

/* 1: asked before the packet is parsed, for on most links of a node there is no cut. */
LM_INLINE int lm_cut_idle(const struct lm_passage *at)
{
	return !at->cut || at->cut->expires_ns <= at->now_ns;
}

/* 2 to 4; `parsed` is 0 or -reason. */
LM_INLINE int lm_cut_judge(const struct lm_passage *at, const struct lm_cursor *frame, int parsed)
{
	if (lm_cut_arp(at, frame)) /* 2 */
		return LM_CUT_ARP;
	if (!parsed && lm_cut_protected(at)) /* 3 */
		return at->to_pod ? LM_CUT_LOCAL : LM_CUT_ANSWER;
	return at->to_pod ? LM_CUT_TO : LM_CUT_FROM; /* 4 */
}

LM_INLINE int lm_cut_drops(int reason)
{
	return reason == LM_CUT_FROM || reason == LM_CUT_TO;
}

/* In the entry: what it did. */
LM_INLINE void lm_cut_note(const struct lm_passage *at, int reason)
{
	struct lm_cut *cut = at->cut;

	if (!lm_cut_drops(reason)) {
		lm_atomic_add(&cut->spared, 1);
		return;
	}
	if (!cut->first_hit_ns)
		cut->first_hit_ns = at->now_ns;
	cut->last_hit_ns = at->now_ns;
	lm_atomic_add(reason == LM_CUT_TO ? &cut->dropped_to : &cut->dropped_from, 1);
	lm_atomic_add(&cut->octets, at->packet.wire_octets);
}

/* The rest of a packet's life on a link that is cut: judged, noted, counted once. Returns whether it is dropped. */
LM_INLINE int lm_cut(struct lm_passage *at, const struct lm_cursor *frame, int parsed)
{
	int reason = lm_cut_judge(at, frame, parsed);

	lm_cut_note(at, reason);
	lm_cut_count((__u32)reason, at->packet.wire_octets);
	return lm_cut_drops(reason);
}

#endif
