/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Short-window counters of sources and services, and the suspect that is told when one crosses a threshold. Called by
 * shield.h. The embedder provides lm_watch_find, lm_watch_put, lm_own_limits_find, lm_count and lm_suspect_tell (maps.h,
 * twin.c).
 *
 * These are evidence, not accounting: two CPUs that start a window at the same time may lose a few counts.
 */
#ifndef LOOMIDI_COUNTERS_H
#define LOOMIDI_COUNTERS_H

#include <loomidi/parse.h>
#include <loomidi/wire.h>

#define LM_SKETCH_BITS (64U * LM_SKETCH_WORDS)
#define LM_CHARGE_EVERY 16 /* packets of a known flow between two charges */

LM_INLINE __u32 lm_mix(__u64 x)
{
	x *= 0x9e3779b97f4a7c15ULL; /* 2^64 / golden ratio */
	x ^= x >> 32;
	x *= 0x9e3779b97f4a7c15ULL;
	return (__u32)(x >> 56) & (LM_SKETCH_BITS - 1);
}

/* Sets the bit of a value in a linear-counting bitmap (Whang et al. 1990); returns 1 when it is new. */
LM_INLINE int lm_sketch_add(__u64 *words, __u64 value)
{
	__u32 bit = lm_mix(value);
	__u64 *word = &words[(bit >> 6) & (LM_SKETCH_WORDS - 1)], mask = 1ULL << (bit & 63);

	if (*word & mask)
		return 0;
	*word |= mask;
	return 1;
}

LM_INLINE __u64 lm_addr_fold(const struct lm_addr *a)
{
	return a->hi * 31 ^ a->lo;
}

LM_INLINE void lm_watch_add(struct lm_watch_state *w, const struct lm_charge *c, int kind)
{
	const struct lm_addr *peer = kind == LM_WATCH_SOURCE ? &c->tuple.destination : &c->tuple.source;

	lm_atomic_add32(&w->packets, c->packets);
	lm_atomic_add(&w->octets, c->octets);
	if (c->syns)
		lm_atomic_add32(&w->syns, c->syns);
	if (kind == LM_WATCH_SOURCE)
		w->ports_set += lm_sketch_add(w->ports, c->tuple.destination_port);
	w->peers_set += lm_sketch_add(w->peers, lm_addr_fold(peer));
}

LM_INLINE __u32 lm_causes(const struct lm_watch_state *w, const struct lm_limits *l)
{
	__u32 causes = 0;

	if (l->packets && w->packets >= l->packets)
		causes |= LM_CAUSE_PACKETS;
	if (l->syns && w->syns >= l->syns)
		causes |= LM_CAUSE_SYNS;
	if (l->ports && w->ports_set >= l->ports)
		causes |= LM_CAUSE_PORTS;
	if (l->peers && w->peers_set >= l->peers)
		causes |= LM_CAUSE_PEERS;
	if (l->octets && w->octets >= l->octets)
		causes |= LM_CAUSE_OCTETS;
	return causes;
}

/* The thresholds that hold for `key` at this moment: its own while their lease lasts, else those of its kind. */
LM_INLINE const struct lm_limits *lm_limits_of(struct lm_env *env, const struct lm_watch_key *key, __u64 at_ns,
					       const struct lm_control *control)
{
	if (control->enabled & LM_HAVE_OWN_LIMITS) {
		const struct lm_own_limits *own = lm_own_limits_find(env, key);

		if (own && own->expires_ns > at_ns)
			return &own->limits;
	}
	return key->kind == LM_WATCH_SOURCE ? &control->source : &control->service;
}

/* Adds a charge to the counters of `key` and tells what it makes cross, once per cause and window. */
LM_OUTLINE int lm_watch_charge(struct lm_env *env, const struct lm_charge *c, const struct lm_watch_key *key,
			       const struct lm_control *control)
{
	struct lm_watch_state *w = lm_watch_find(env, key);
	__u32 causes;

	if (!w) {
		struct lm_watch_state fresh = {};

		fresh.from_ns = c->at_ns;
		lm_watch_put(env, key, &fresh);
		w = lm_watch_find(env, key);
		if (!w)
			return 0;
	} else if (c->at_ns - w->from_ns > control->window_ns) {
		__builtin_memset(w, 0, sizeof(*w));
		w->from_ns = c->at_ns;
	}
	lm_watch_add(w, c, key->kind);
	causes = lm_causes(w, lm_limits_of(env, key, c->at_ns, control)) & ~w->told;
	if (!causes)
		return 0;
	if (lm_suspect_tell(env, causes, key->kind, c, w))
		return 0;
	w->told |= causes;
	return 1;
}

/* Charges the sender and, when there is one, the service that it talks to. */
LM_INLINE void lm_charge_both(struct lm_env *env, const struct lm_charge *c, const struct lm_control *control)
{
	struct lm_watch_key key = {};
	int told;

	key.address = c->tuple.source;
	key.kind = LM_WATCH_SOURCE;
	told = lm_watch_charge(env, c, &key, control);
	key.address = c->tuple.destination;
	key.port = c->tuple.destination_port;
	key.protocol = c->tuple.protocol;
	key.kind = LM_WATCH_SERVICE;
	told += lm_watch_charge(env, c, &key, control);
	lm_keep(told);
}

#endif
