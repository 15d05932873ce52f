/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What happens to one parsed packet: verdict first, accounting second. One body for XDP, tc (maps.h) and user space
 * (twin.c), which provide the clock, the maps as small inline functions, and LM_OUTLINE.
 *
 * Order, repeated in the code:
 *   1 exact 5-tuple -> 2 host -> 3 CIDR, each looked up only while control.enabled has its bit
 *   4 an entry that is expired or of an older generation is no entry
 *   5 the protected set always passes; asked only when a drop is due, the answer is the same and it costs nothing before
 *   6 token bucket
 *   7 accounting of what passes: flow table, else ring, else only the counter. What is dropped is in its entry.
 */
#ifndef LOOMIDI_SHIELD_H
#define LOOMIDI_SHIELD_H

#include <loomidi/counters.h>
#include <loomidi/flow.h>
#include <loomidi/parse.h>
#include <loomidi/wire.h>

#define LM_CIDR_NESTED 3
#define LM_CHARGE_TALK 3       /* packets after the SYN: acknowledged, said something, ended */
#define LM_TOKEN 1000000000ULL /* one packet, in the bucket's unit: rate_pps * ns */

LM_INLINE void lm_tuple_of(const struct lm_packet *p, struct lm_tuple *t)
{
	t->source = p->source;
	t->destination = p->destination;
	t->source_port = p->source_port;
	t->destination_port = p->destination_port;
	t->protocol = p->protocol;
	t->pad[0] = t->pad[1] = t->pad[2] = 0;
}

/* 4 */
LM_INLINE int lm_live(const struct lm_verdict *v, const struct lm_control *control, __u64 now)
{
	return v->expires_ns > now && v->generation >= control->generation;
}

/* 6: 1 when the packet may pass. Exact while one CPU at a time meets the entry; else off by one packet per CPU. */
LM_OUTLINE int lm_bucket(struct lm_verdict *v, __u64 now)
{
	__u64 before = v->refilled_ns, full = v->burst * LM_TOKEN, have, add;

	if (now > before && v->rate_pps && lm_atomic_swap_if(&v->refilled_ns, before, now)) {
		have = v->tokens;
		add = now - before >= full / v->rate_pps ? full : (now - before) * v->rate_pps;
		if ((__s64)have < 0)
			have = 0;
		if (have < full)
			lm_atomic_add(&v->tokens, add < full - have ? add : full - have);
	}
	if (v->tokens < LM_TOKEN)
		return 0;
	lm_atomic_add(&v->tokens, -LM_TOKEN);
	return 1;
}

LM_INLINE void lm_hit(struct lm_verdict *v, const struct lm_packet *p, __u64 now, __u64 *packets)
{
	if (!v->first_hit_ns)
		v->first_hit_ns = lm_now(p);
	v->last_hit_ns = now;
	lm_atomic_add(packets, 1);
	lm_atomic_add(&v->octets, p->wire_octets);
}

/* 5 and 6 for an entry that matched. Returns `reason` when the packet is dropped for it, LM_PASSED when it is not. */
LM_INLINE int lm_apply(struct lm_env *env, struct lm_verdict *v, const struct lm_packet *p,
		       const struct lm_control *control, int reason)
{
	__u64 now = lm_now_coarse(p);

	if (!lm_live(v, control, now)) /* 4 */
		return LM_PASSED;
	if (control->enabled & LM_HAVE_PROTECTED && lm_protected_find(env, &p->source)) /* 5 */
		return LM_PASSED;
	if (v->action == LM_RATE) { /* 6 */
		now = lm_now(p);
		reason = lm_bucket(v, now) ? LM_PASSED : LM_DROP_RATE;
	} else if (v->action != LM_DROP) {
		reason = LM_PASSED;
	}
	lm_hit(v, p, now, reason == LM_PASSED ? &v->passed : &v->dropped);
	return reason;
}

/* 3: the longest prefix; then, while it does not drop, up to LM_CIDR_NESTED wider ones that hold it. */
LM_INLINE int lm_judge_cidrs(struct lm_env *env, const struct lm_packet *p, const struct lm_control *control)
{
	__u32 bits = 128;

	for (int i = 0; i <= LM_CIDR_NESTED; i++) {
		struct lm_verdict *v = lm_cidr_find(env, &p->source, bits);
		int reason;

		if (!v)
			return LM_PASSED;
		reason = lm_apply(env, v, p, control, LM_DROP_CIDR);
		if (reason != LM_PASSED || !v->prefix)
			return reason;
		bits = v->prefix - 1U;
	}
	return LM_PASSED;
}

/* 1 to 6. A live entry that lets the packet through does not hide a wider one that drops it. */
LM_INLINE int lm_judge(struct lm_env *env, const struct lm_packet *p, const struct lm_control *control)
{
	int reason = LM_PASSED;
	struct lm_verdict *v;

	if (control->enabled & LM_HAVE_TUPLES) { /* 1 */
		struct lm_tuple tuple;

		lm_tuple_of(p, &tuple);
		v = lm_tuple_find(env, &tuple);
		if (v)
			reason = lm_apply(env, v, p, control, LM_DROP_TUPLE);
	}
	if (reason == LM_PASSED && control->enabled & LM_HAVE_HOSTS) { /* 2 */
		v = lm_host_find(env, &p->source);
		if (v)
			reason = lm_apply(env, v, p, control, LM_DROP_HOST);
	}
	if (reason == LM_PASSED && control->enabled & LM_HAVE_CIDRS) /* 3 */
		reason = lm_judge_cidrs(env, p, control);
	return reason;
}

/*
 * Every new flow, every SYN, the end of a conversation that held data, else each LM_CHARGE_EVERY-th packet of the flow,
 * with what came since. Short conversations that complete are thus no SYN flood; a SYN taken back by RST still is.
 */
LM_INLINE void lm_watch_flow(struct lm_env *env, struct lm_flow *f, const struct lm_packet *p, int fresh,
			     const struct lm_control *control)
{
	struct lm_charge c;
	int syn = p->protocol == LM_TCP && (p->tcp_flags & (LM_SYN | LM_ACK)) == LM_SYN;
	int ends = p->protocol == LM_TCP && p->tcp_flags & (LM_FIN | LM_RST);

	f->uncharged++;
	ends = ends && f->uncharged >= LM_CHARGE_TALK;
	f->uncharged_octets += p->ip_octets;
	if (!fresh && !syn && !ends && f->uncharged < LM_CHARGE_EVERY)
		return;
	c.at_ns = p->at_ns;
	c.packets = f->uncharged;
	c.octets = f->uncharged_octets;
	c.syns = syn;
	lm_tuple_of(p, &c.tuple);
	f->uncharged = 0;
	f->uncharged_octets = 0;
	lm_charge_both(env, &c, control);
}

/* 7 */
LM_INLINE int lm_account(struct lm_env *env, const struct lm_packet *p, const struct lm_control *control)
{
	struct lm_flow *f;
	struct lm_key key;
	int from_high = lm_key_of(p, &key), fresh = 0;

	f = lm_flow_find(env, control->table, &key);
	if (f) {
		__u8 end = lm_flow_split(f, p->at_ns, p->tcp_flags, &control->flow);

		/* A full ring does not split the flow: the packets stay counted, in one record instead of two. */
		if (end && !lm_record_split(env, &key, f, end))
			lm_flow_restart(f, &key, p, from_high, end);
	} else {
		f = lm_scratch_of(env);
		if (!f)
			return LM_OVERFLOW_LOST;
		fresh = 1;
		__builtin_memset(f, 0, sizeof(*f));
		lm_flow_start(f, p, from_high);
	}
	lm_flow_add(f, p, from_high, &control->flow);
	if (control->enabled & LM_WATCHING)
		lm_watch_flow(env, f, p, fresh, control);
	return fresh ? lm_flow_keep(env, control->table, &key) : LM_ACCOUNTED;
}

/*
 * While no entry could drop the packet its time is read before it is parsed: the clock waits for every load that is
 * under way, and the parser's are many. With entries it is read late, so that what is dropped does not pay for it.
 */
LM_INLINE void lm_stamp(struct lm_env *env, struct lm_packet *p)
{
	struct lm_control *control = lm_control_of(env);

	if (control && (control->enabled & (LM_VERDICTS | LM_ACCOUNTING)) == LM_ACCOUNTING)
		p->at_ns = lm_now(p);
}

/* The whole life of a packet; `parsed` is 0 or -reason. Counts it once and returns LM_DROP or LM_PASS. */
LM_INLINE int lm_shield(struct lm_env *env, struct lm_packet *p, int parsed)
{
	struct lm_control *control = lm_control_of(env);
	int reason, verdict = LM_PASS;

	if (!control)
		return LM_PASS;
	if (parsed) {
		reason = -parsed;
	} else {
		reason = lm_judge(env, p, control);
		if (reason != LM_PASSED) {
			verdict = LM_DROP;
		} else if (control->enabled & LM_ACCOUNTING) {
			if (!p->at_ns)
				p->at_ns = lm_now(p);
			reason = lm_account(env, p, control);
		}
	}
	lm_count(env, (__u32)reason, p->wire_octets);
	return verdict;
}

#endif
