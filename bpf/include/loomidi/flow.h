/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The state of a flow: start, add a packet, decide a split, merge two partial states. The same code runs in the kernel
 * and in user space and gives identical records. Integers only; means and deviations are made at the export.
 *
 * Rules: the initiator sends the first packet, or is the other end when that is a SYN-ACK; the direction survives an
 * active timeout; a TCP conversation that began unseen goes to the end at a service's port; a negative gap is counted as
 * reordered and never clamped into a statistic; all packets count from the first one on, flags included.
 */
#ifndef LOOMIDI_FLOW_H
#define LOOMIDI_FLOW_H

#include <loomidi/parse.h>
#include <loomidi/wire.h>

typedef __u64 __attribute__((may_alias)) lm_word; /* a key eight octets at a time */

_Static_assert(sizeof(struct lm_key) == 6 * sizeof(lm_word) && __builtin_offsetof(struct lm_key, low_port) == 32,
	       "lm_key_rest fills the last 16 of 48 octets");

/* Adds x and x * x (128 bit: x^2 = a^2 2^64 + a b 2^33 + b^2 with x = a 2^32 + b). */
LM_INLINE void lm_stat_add(struct lm_stat *s, __u64 x)
{
	__u64 lo, hi = 0;

	if (x >> 32) {
		__u64 a = x >> 32, b = x & 0xffffffffU, middle = a * b;

		lo = b * b;
		hi = a * a + (middle >> 31);
		middle <<= 33;
		lo += middle;
		hi += lo < middle;
	} else {
		lo = x * x;
	}
	s->square_lo += lo;
	s->square_hi += hi + (s->square_lo < lo);
	if (!s->count || x < s->min)
		s->min = x;
	if (x > s->max)
		s->max = x;
	s->sum += x;
	s->count++;
}

LM_INLINE void lm_stat_merge(struct lm_stat *to, const struct lm_stat *from)
{
	if (!from->count)
		return;
	if (!to->count || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->square_lo += from->square_lo;
	to->square_hi += from->square_hi + (to->square_lo < from->square_lo);
	to->sum += from->sum;
	to->count += from->count;
}

LM_INLINE int lm_addr_less(const struct lm_addr *a, const struct lm_addr *b)
{
	return a->hi < b->hi || (a->hi == b->hi && a->lo < b->lo);
}

/* The type of the request that an ICMP reply answers (RFC 792, RFC 950, RFC 4443), else the type itself. */
LM_INLINE __u8 lm_icmp_request(__u8 protocol, __u8 type)
{
	if (protocol == LM_ICMPV6)
		return type == 129 ? 128 : type;
	if (type == 0)
		return 8;
	return type == 14 || type == 16 || type == 18 ? type - 1 : type;
}

/* The last 16 octets of a key, made in registers: what is hashed eight octets at a time is stored so, not in pieces. */
LM_INLINE void lm_key_rest(const struct lm_packet *p, __u16 low_port, __u16 high_port, lm_word *to)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	to[0] = low_port | (__u64)high_port << 16 | (__u64)p->tunnel_id << 32;
	to[1] = p->vlan | (__u64)p->vlan_inner << 16 | (__u64)p->protocol << 32 | (__u64)p->ip_version << 40 |
		(__u64)p->tunnel << 48;
#else
	to[0] = (__u64)low_port << 48 | (__u64)high_port << 32 | p->tunnel_id;
	to[1] = (__u64)p->vlan << 48 | (__u64)p->vlan_inner << 32 | (__u64)p->protocol << 24 |
		(__u64)p->ip_version << 16 | (__u64)p->tunnel << 8;
#endif
}

/* Fills the direction-free key; returns 1 when the packet's source is key.high. */
LM_INLINE int lm_key_of(const struct lm_packet *p, struct lm_key *key)
{
	__u16 from = p->source_port, to = p->destination_port;
	int from_high;

	if (p->fragment != LM_FRAGMENT_LATER && (p->protocol == LM_ICMP || p->protocol == LM_ICMPV6))
		from = to = (__u16)(lm_icmp_request(p->protocol, p->icmp_type) << 8 | p->icmp_code);
	from_high = lm_addr_less(&p->destination, &p->source) ||
		    (p->source.hi == p->destination.hi && p->source.lo == p->destination.lo && to < from);
	key->low = from_high ? p->destination : p->source;
	key->high = from_high ? p->source : p->destination;
	lm_key_rest(p, from_high ? to : from, from_high ? from : to, (lm_word *)(void *)&key->low_port);
	return from_high;
}

LM_INLINE int lm_flow_closed(const struct lm_flow *f)
{
	__u8 both = LM_CLOSING_FIN_INITIATOR | LM_CLOSING_FIN_RESPONDER;

	return f->closing & LM_CLOSING_RST || (f->closing & both) == both;
}

LM_INLINE __u8 lm_flow_close_reason(const struct lm_flow *f)
{
	return f->closing & LM_CLOSING_RST ? LM_END_RST : LM_END_FIN;
}

/* Why what comes next, starting at `at_ns` with TCP `flags`, is another flow; LM_END_NONE when it is the same. */
LM_INLINE __u8 lm_flow_split(const struct lm_flow *f, __u64 at_ns, __u8 flags, const struct lm_settings *s)
{
	__u64 gap = at_ns > f->last_ns ? at_ns - f->last_ns : 0;

	if (lm_flow_closed(f) && ((flags & (LM_SYN | LM_ACK)) == LM_SYN || gap > s->linger_ns))
		return lm_flow_close_reason(f);
	if (gap > s->idle_ns)
		return LM_END_IDLE;
	if (at_ns > f->first_ns && at_ns - f->first_ns > s->active_ns)
		return LM_END_ACTIVE;
	return LM_END_NONE;
}

/* Sets the direction of a zeroed flow from its first packet. */
LM_INLINE void lm_flow_start(struct lm_flow *f, const struct lm_packet *p, int from_high)
{
	int answer = p->protocol == LM_TCP && (p->tcp_flags & (LM_SYN | LM_ACK)) == (LM_SYN | LM_ACK);

	f->initiator_is_high = (__u8)(from_high ^ answer);
	f->first_ns = p->at_ns;
	f->last_ns = p->at_ns;
	f->active_from_ns = p->at_ns;
	f->icmp_type = p->icmp_type;
	f->icmp_code = p->icmp_code;
	f->first_flags = p->tcp_flags;
}

/*
 * Whether a TCP flow that ends has the wrong direction: where no SYN was seen and both ends sent more than resets, what
 * came first may have been an answer, so the end at a service's port is the responder. What nobody answers stays.
 */
LM_INLINE int lm_flow_backwards(const struct lm_flow *f, const struct lm_key *key)
{
	__u16 from = f->initiator_is_high ? key->high_port : key->low_port;
	__u16 to = f->initiator_is_high ? key->low_port : key->high_port;

	if (key->protocol != LM_TCP || f->inherited || from >= LM_EPHEMERAL || to < LM_EPHEMERAL)
		return 0;
	LM_UNROLL
	for (int i = 0; i < 2; i++) { /* SYN, RST */
		if (f->side[i].flags[1] || f->side[i].packets == f->side[i].flags[2])
			return 0;
	}
	return 1;
}

/* Makes f the flow that follows the one it held, which ended for `reason`: zeroed, direction kept when it was cut. */
LM_INLINE void lm_flow_restart(struct lm_flow *f, const struct lm_key *key, const struct lm_packet *p, int from_high,
			       __u8 reason)
{
	__u8 high = f->initiator_is_high ^ (__u8)lm_flow_backwards(f, key);

	__builtin_memset(f, 0, sizeof(*f));
	lm_flow_start(f, p, from_high);
	if (reason == LM_END_ACTIVE) {
		f->initiator_is_high = high;
		f->inherited = 1;
	}
}

LM_INLINE void lm_side_add(struct lm_side *side, const struct lm_packet *p)
{
	if (side->packets) {
		if (p->at_ns >= side->last_ns)
			lm_stat_add(&side->gap, p->at_ns - side->last_ns);
		else
			side->reordered++;
	}
	if (!side->packets)
		side->first_ns = p->at_ns;
	if (!side->packets || p->at_ns > side->last_ns)
		side->last_ns = p->at_ns;
	if (!side->packets || p->ip_octets < side->size_min)
		side->size_min = p->ip_octets;
	if (p->ip_octets > side->size_max)
		side->size_max = p->ip_octets;
	side->packets++;
	side->octets += p->ip_octets;
	side->wire_octets += p->wire_octets;
	side->payload_octets += p->payload_octets;
	side->header_octets += p->header_octets;
	side->size_square += (__u64)p->ip_octets * p->ip_octets;
	side->fragments += p->fragment != LM_FRAGMENT_NONE;
	if (p->protocol != LM_TCP)
		return;
	LM_UNROLL
	for (int i = 0; i < 8; i++)
		side->flags[i] += p->tcp_flags >> i & 1;
	if (!side->window_seen && p->fragment != LM_FRAGMENT_LATER) {
		side->window = p->window;
		side->window_seen = 1;
	}
}

/* Gaps, activity periods and the first LM_SPLT packets, over both directions. */
LM_INLINE void lm_flow_time(struct lm_flow *f, const struct lm_packet *p, int responder, const struct lm_settings *s)
{
	__u64 gap = 0;
	int started = f->side[0].packets + f->side[1].packets > 0;

	if (started && p->at_ns >= f->last_ns) {
		gap = p->at_ns - f->last_ns;
		lm_stat_add(&f->gap, gap);
		if (gap > s->activity_ns) {
			lm_stat_add(&f->active, f->last_ns - f->active_from_ns);
			lm_stat_add(&f->idle, gap);
			f->active_from_ns = p->at_ns;
		}
	}
	if (f->splt_count < LM_SPLT) {
		__u32 i = f->splt_count & (LM_SPLT - 1);

		f->splt_gap_ns[i] = gap;
		f->splt_size[i] = (__u16)(p->ip_octets > 0xffff ? 0xffff : p->ip_octets);
		f->splt_direction |= (__u16)(responder << i);
		f->splt_count++;
	}
	if (p->at_ns > f->last_ns)
		f->last_ns = p->at_ns;
	if (p->at_ns < f->first_ns) {
		f->first_ns = p->at_ns;
		if (p->at_ns < f->active_from_ns && !f->active.count)
			f->active_from_ns = p->at_ns;
	}
}

/* Adds one packet to a started flow. `from_high` as returned by lm_key_of. */
LM_INLINE void lm_flow_add(struct lm_flow *f, const struct lm_packet *p, int from_high, const struct lm_settings *s)
{
	int responder = (from_high != 0) != (f->initiator_is_high != 0);

	lm_flow_time(f, p, responder, s);
	lm_side_add(&f->side[responder & 1], p);
	if (p->protocol != LM_TCP)
		return;
	if (p->tcp_flags & LM_FIN)
		f->closing |= responder ? LM_CLOSING_FIN_RESPONDER : LM_CLOSING_FIN_INITIATOR;
	if (p->tcp_flags & LM_RST)
		f->closing |= LM_CLOSING_RST;
}

#ifndef __bpf__

/* b turned round: its responder becomes the initiator. */
LM_INLINE void lm_flow_turn(struct lm_flow *f)
{
	struct lm_side side = f->side[0];
	__u8 fins = f->closing & (LM_CLOSING_FIN_INITIATOR | LM_CLOSING_FIN_RESPONDER);

	f->side[0] = f->side[1];
	f->side[1] = side;
	f->initiator_is_high ^= 1;
	f->splt_direction = (__u16)(~f->splt_direction & ((1U << f->splt_count) - 1));
	f->closing &= LM_CLOSING_RST;
	f->closing |= (__u8)((fins & LM_CLOSING_FIN_INITIATOR) << 1 | (fins & LM_CLOSING_FIN_RESPONDER) >> 1);
}

/* Gives a flow that ends its direction. */
LM_INLINE void lm_flow_settle(struct lm_flow *f, const struct lm_key *key)
{
	if (lm_flow_backwards(f, key))
		lm_flow_turn(f);
}

LM_INLINE void lm_side_merge(struct lm_side *a, const struct lm_side *b)
{
	if (!b->packets)
		return;
	if (a->packets && b->first_ns >= a->last_ns)
		lm_stat_add(&a->gap, b->first_ns - a->last_ns);
	if (!a->packets || b->first_ns < a->first_ns)
		a->first_ns = b->first_ns;
	lm_stat_merge(&a->gap, &b->gap);
	if (!a->packets || b->size_min < a->size_min)
		a->size_min = b->size_min;
	if (b->size_max > a->size_max)
		a->size_max = b->size_max;
	if (b->last_ns > a->last_ns)
		a->last_ns = b->last_ns;
	a->packets += b->packets;
	a->octets += b->octets;
	a->wire_octets += b->wire_octets;
	a->payload_octets += b->payload_octets;
	a->header_octets += b->header_octets;
	a->size_square += b->size_square;
	for (int i = 0; i < 8; i++)
		a->flags[i] += b->flags[i];
	a->reordered += b->reordered;
	a->fragments += b->fragments;
	if (!a->window_seen) {
		a->window = b->window;
		a->window_seen = b->window_seen;
	}
}

/* The gap between a and b, and the activity periods on both sides of it. */
LM_INLINE void lm_flow_merge_time(struct lm_flow *a, const struct lm_flow *b, const struct lm_settings *s)
{
	int follows = b->first_ns >= a->last_ns;
	__u64 gap = follows ? b->first_ns - a->last_ns : 0;
	struct lm_stat closed = b->active;

	if (follows)
		lm_stat_add(&a->gap, gap);
	lm_stat_merge(&a->gap, &b->gap);
	if (follows && gap > s->activity_ns) {
		lm_stat_add(&a->active, a->last_ns - a->active_from_ns);
		lm_stat_add(&a->idle, gap);
		a->active_from_ns = b->active_from_ns;
	} else if (closed.count) {
		/* b's first closed period began in a. Known while it is the only one: gaps are longer than drains apart. */
		if (closed.count == 1 && b->first_ns >= a->active_from_ns) {
			__u64 period = closed.sum + (b->first_ns - a->active_from_ns);

			closed = (struct lm_stat){0};
			lm_stat_add(&closed, period);
		}
		a->active_from_ns = b->active_from_ns;
	}
	lm_stat_merge(&a->active, &closed);
	lm_stat_merge(&a->idle, &b->idle);
	for (__u32 i = 0; i < b->splt_count && a->splt_count < LM_SPLT; i++) {
		a->splt_gap_ns[a->splt_count] = i ? b->splt_gap_ns[i] : gap;
		a->splt_size[a->splt_count] = b->splt_size[i];
		a->splt_direction |= (__u16)((b->splt_direction >> i & 1) << a->splt_count);
		a->splt_count++;
	}
}

/*
 * Adds the later partial state b to a: two drains of one flow, or two CPUs' parts of it. Exact when b starts after a
 * ended. Where they overlap (one flow on two CPUs within a drain) counts, sizes and flags stay exact; the gaps between
 * packets of different CPUs are not known and not counted, and SPLT is in order of arrival per part.
 */
LM_INLINE void lm_flow_merge(struct lm_flow *a, const struct lm_flow *from, const struct lm_settings *s)
{
	struct lm_flow b = *from;

	if (b.initiator_is_high != a->initiator_is_high)
		lm_flow_turn(&b);
	lm_flow_merge_time(a, &b, s);
	lm_side_merge(&a->side[0], &b.side[0]);
	lm_side_merge(&a->side[1], &b.side[1]);
	if (b.first_ns < a->first_ns)
		a->first_ns = b.first_ns;
	if (b.last_ns > a->last_ns)
		a->last_ns = b.last_ns;
	a->closing |= b.closing;
}

#endif /* __bpf__ */

#endif
