/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel's side of shield.h: map definitions and the small functions through which the body reaches them. Included
 * by shield.bpf.c only; twin.c has the same functions over plain tables. Sizes are set by the loader.
 */
#ifndef LOOMIDI_MAPS_H
#define LOOMIDI_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <loomidi/flow.h>
#include <loomidi/wire.h>

#define LM_TURN(x) ((x) << 32 | (x) >> 32) /* the octets that differ, of addresses, come last */
#define LM_OUTLINE static __attribute__((noinline))

struct lm_env; /* nothing to hand around in the kernel */

const volatile struct lm_tunables lm_tunables = {.cpus = 1};

/* What one CPU keeps for itself. */
struct lm_local {
	__u64 tick; /* jiffies at which tick_ns was read */
	__u64 tick_ns;
	struct lm_record record;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lm_control);
} lm_control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LM_COUNTERS);
	__type(key, __u32);
	__type(value, struct lm_count);
} lm_counters SEC(".maps");

struct lm_flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64); /* lm_fingerprint; the key itself is compared in the value */
	__type(value, struct lm_record);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct lm_flow_table);
} lm_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct lm_tuple);
	__type(value, struct lm_verdict);
} lm_tuples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct lm_addr);
	__type(value, struct lm_verdict);
} lm_hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct lm_prefix);
	__type(value, struct lm_verdict);
} lm_cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct lm_prefix);
	__type(value, __u32);
} lm_protected SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct lm_watch_key);
	__type(value, struct lm_watch_state);
} lm_watch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct lm_watch_key);
	__type(value, struct lm_own_limits);
} lm_own_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 262144);
} lm_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8388608);
} lm_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lm_local);
} lm_scratch SEC(".maps");

LM_INLINE void lm_atomic_add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

LM_INLINE void lm_atomic_add32(__u32 *to, __u32 n)
{
	__sync_fetch_and_add(to, n);
}

LM_INLINE int lm_atomic_swap_if(__u64 *at, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(at, from, to) == from;
}

LM_INLINE __u64 lm_now(const struct lm_packet *p)
{
	return lm_tunables.clock_from_meta ? p->at_ns : bpf_ktime_get_ns();
}

/* Good to a tick, as the coarse clock of the kernel, for a fifth of its price: read once a tick, kept per CPU. */
LM_INLINE __u64 lm_now_coarse(const struct lm_packet *p)
{
	__u64 tick = bpf_jiffies64();
	struct lm_local *local;
	__u32 zero = 0;

	if (lm_tunables.clock_from_meta)
		return p->at_ns;
	local = bpf_map_lookup_elem(&lm_scratch, &zero);
	if (!local)
		return bpf_ktime_get_ns();
	if (local->tick != tick) {
		local->tick = tick;
		local->tick_ns = bpf_ktime_get_ns();
	}
	return local->tick_ns;
}

LM_INLINE struct lm_control *lm_control_of(struct lm_env *env)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lm_control, &zero);
}

LM_INLINE void lm_count(struct lm_env *env, __u32 reason, __u32 octets)
{
	struct lm_count *count = bpf_map_lookup_elem(&lm_counters, &reason);

	if (!count)
		return;
	count->packets++;
	count->octets += octets;
}

LM_INLINE struct lm_verdict *lm_tuple_find(struct lm_env *env, const struct lm_tuple *tuple)
{
	return bpf_map_lookup_elem(&lm_tuples, tuple);
}

LM_INLINE struct lm_verdict *lm_host_find(struct lm_env *env, const struct lm_addr *address)
{
	return bpf_map_lookup_elem(&lm_hosts, address);
}

LM_INLINE struct lm_verdict *lm_cidr_find(struct lm_env *env, const struct lm_addr *address, __u32 bits)
{
	struct lm_prefix prefix = {.length = bits, .address = *address};

	return bpf_map_lookup_elem(&lm_cidrs, &prefix);
}

LM_INLINE int lm_protected_find(struct lm_env *env, const struct lm_addr *address)
{
	struct lm_prefix prefix = {.length = 128, .address = *address};

	return bpf_map_lookup_elem(&lm_protected, &prefix) != 0;
}

/* This CPU's own table, so that nothing is shared and nothing is locked but against the reader of the other set. */
LM_INLINE void *lm_flow_table_of(__u32 table)
{
	__u32 slot = (table & 1) * lm_tunables.cpus + bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&lm_flows, &slot);
}

/*
 * 64 bits for a key: a multilinear hash, whose multiplications do not wait for each other; far cheaper than the kernel's
 * hash of 48 octets. Keys that meet in it are told apart in lm_flow_find, and the second one goes through the ring.
 */
LM_INLINE __u64 lm_fingerprint(const struct lm_key *key)
{
	const lm_word *w = (const void *)key;
	__u64 h = lm_tunables.seed;

	h += LM_TURN(w[0]) * 0x9e3779b97f4a7c15ULL + LM_TURN(w[1]) * 0xbf58476d1ce4e5b9ULL;
	h += LM_TURN(w[2]) * 0x94d049bb133111ebULL + LM_TURN(w[3]) * 0xd6e8feb86659fd93ULL;
	h ^= h >> 29;
	h += w[4] * 0xff51afd7ed558ccdULL + w[5] * 0xc4ceb9fe1a85ec53ULL;
	h = (h ^ lm_tunables.seed) * 0xe7037ed1a0b428dbULL;
	return h ^ h >> 32;
}

LM_INLINE int lm_key_differs(const struct lm_key *a, const struct lm_key *b)
{
	const lm_word *x = (const void *)a, *y = (const void *)b;

	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) | (x[5] ^ y[5])) != 0;
}

LM_INLINE struct lm_flow *lm_flow_find(struct lm_env *env, __u32 table, const struct lm_key *key)
{
	void *flows = lm_flow_table_of(table);
	__u64 fingerprint = lm_fingerprint(key);
	struct lm_record *record = flows ? bpf_map_lookup_elem(flows, &fingerprint) : 0;

	return record && !lm_key_differs(&record->key, key) ? &record->flow : 0;
}

LM_INLINE struct lm_flow *lm_scratch_of(struct lm_env *env)
{
	__u32 zero = 0;
	struct lm_local *local = bpf_map_lookup_elem(&lm_scratch, &zero);

	return local ? &local->record.flow : 0;
}

/* Keeps the flow in lm_scratch_of: in the table, else through the ring. Returns where its packet ended. */
LM_OUTLINE int lm_flow_keep(struct lm_env *env, __u32 table, const struct lm_key *key)
{
	void *flows = lm_flow_table_of(table);
	__u64 fingerprint = lm_fingerprint(key);
	__u32 zero = 0;
	struct lm_local *local = bpf_map_lookup_elem(&lm_scratch, &zero);

	if (!local)
		return LM_OVERFLOW_LOST;
	local->record.key = *key;
	if (flows && !bpf_map_update_elem(flows, &fingerprint, &local->record, BPF_NOEXIST))
		return LM_ACCOUNTED;
	/* Read at every drain: no packet pays for a wake-up. */
	if (bpf_ringbuf_output(&lm_records, &local->record, sizeof(local->record), BPF_RB_NO_WAKEUP))
		return LM_OVERFLOW_LOST;
	return LM_OVERFLOWED;
}

/* Hands over a flow that ended, for `end`. Not 0 when the ring is full. */
LM_OUTLINE int lm_record_split(struct lm_env *env, const struct lm_key *key, struct lm_flow *flow, __u8 end)
{
	struct lm_record *record = bpf_ringbuf_reserve(&lm_records, sizeof(*record), 0);

	if (!record)
		return -1;
	record->key = *key;
	__builtin_memcpy(&record->flow, flow, sizeof(*flow));
	record->flow.end = end;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

LM_INLINE struct lm_watch_state *lm_watch_find(struct lm_env *env, const struct lm_watch_key *key)
{
	return bpf_map_lookup_elem(&lm_watch, key);
}

LM_INLINE const struct lm_own_limits *lm_own_limits_find(struct lm_env *env, const struct lm_watch_key *key)
{
	return bpf_map_lookup_elem(&lm_own_limits, key);
}

LM_INLINE void lm_watch_put(struct lm_env *env, const struct lm_watch_key *key, const struct lm_watch_state *state)
{
	bpf_map_update_elem(&lm_watch, key, state, BPF_NOEXIST);
}

/* A function of its own, so that the struct is in the BTF, from which its layout is tested. */
LM_OUTLINE int lm_suspect_fill(struct lm_suspect *suspect, __u32 causes, __u32 kind, const struct lm_charge *charge,
			       const struct lm_watch_state *seen)
{
	suspect->at_ns = charge->at_ns;
	suspect->tuple = charge->tuple;
	suspect->causes = causes;
	suspect->kind = kind;
	suspect->seen = *seen;
	return 0;
}

/* Told at once: somebody sleeps on it. A full ring is counted, and the next charge tells it. */
LM_INLINE int lm_suspect_tell(struct lm_env *env, __u32 causes, __u32 kind, const struct lm_charge *charge,
			      const struct lm_watch_state *seen)
{
	struct lm_suspect *suspect = bpf_ringbuf_reserve(&lm_events, sizeof(*suspect), 0);

	if (!suspect) {
		lm_count(env, LM_UNTOLD, 0);
		return -1;
	}
	lm_keep(lm_suspect_fill(suspect, causes, kind, charge, seen));
	bpf_ringbuf_submit(suspect, BPF_RB_FORCE_WAKEUP);
	return 0;
}

#endif
