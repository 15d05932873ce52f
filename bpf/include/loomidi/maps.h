/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel's side of shield.h: map definitions and the small functions through which the body reaches them. Included
 * by shield.bpf.c only; twin.c has the same functions over plain tables. Sizes are set by the loader.
 */
#ifndef LOOMIDI_MAPS_H
#define LOOMIDI_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <loomidi/wire.h>

#define LM_OUTLINE static __attribute__((noinline))

struct lm_env; /* nothing to hand around in the kernel */

const volatile struct lm_tunables lm_tunables = {.cpus = 1};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lm_control);
} lm_control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LM_REASONS);
	__type(key, __u32);
	__type(value, struct lm_count);
} lm_counters SEC(".maps");

struct lm_flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct lm_key);
	__type(value, struct lm_flow);
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
	__type(value, struct lm_flow_event);
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

LM_INLINE __u64 lm_now_coarse(const struct lm_packet *p)
{
	return lm_tunables.clock_from_meta ? p->at_ns : bpf_ktime_get_coarse_ns();
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

LM_INLINE struct lm_flow *lm_flow_find(struct lm_env *env, __u32 table, const struct lm_key *key)
{
	void *flows = lm_flow_table_of(table);

	return flows ? bpf_map_lookup_elem(flows, key) : 0;
}

LM_INLINE int lm_flow_put(struct lm_env *env, __u32 table, const struct lm_key *key, const struct lm_flow *flow)
{
	void *flows = lm_flow_table_of(table);

	return flows ? (int)bpf_map_update_elem(flows, key, flow, BPF_NOEXIST) : -1;
}

LM_INLINE struct lm_flow_event *lm_scratch_of(struct lm_env *env)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lm_scratch, &zero);
}

/* The records ring is read at every drain: no packet pays for a wake-up. */
LM_OUTLINE int lm_record_overflow(struct lm_env *env, const struct lm_key *key)
{
	struct lm_flow_event *scratch = lm_scratch_of(env);

	if (!scratch)
		return -1;
	scratch->event = LM_EVENT_FLOW;
	scratch->key = *key;
	return (int)bpf_ringbuf_output(&lm_records, scratch, sizeof(*scratch), BPF_RB_NO_WAKEUP);
}

LM_OUTLINE int lm_record_split(struct lm_env *env, const struct lm_key *key, struct lm_flow *flow, __u8 end)
{
	struct lm_flow_event *event = bpf_ringbuf_reserve(&lm_records, sizeof(*event), 0);

	if (!event)
		return -1;
	event->event = LM_EVENT_FLOW;
	event->pad = 0;
	event->key = *key;
	__builtin_memcpy(&event->flow, flow, sizeof(*flow));
	event->flow.end = end;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

LM_INLINE struct lm_watch_state *lm_watch_find(struct lm_env *env, const struct lm_watch_key *key)
{
	return bpf_map_lookup_elem(&lm_watch, key);
}

LM_INLINE void lm_watch_put(struct lm_env *env, const struct lm_watch_key *key, const struct lm_watch_state *state)
{
	bpf_map_update_elem(&lm_watch, key, state, BPF_NOEXIST);
}

/* Told at once: somebody sleeps on it. A full ring is noticed by the detectors, which read the counters too. */
LM_INLINE void lm_suspect_tell(struct lm_env *env, __u32 causes, __u32 kind, const struct lm_charge *charge,
			       const struct lm_watch_state *seen)
{
	struct lm_suspect *suspect = bpf_ringbuf_reserve(&lm_events, sizeof(*suspect), 0);

	if (!suspect)
		return;
	suspect->event = LM_EVENT_SUSPECT;
	suspect->causes = causes;
	suspect->at_ns = charge->at_ns;
	suspect->tuple = charge->tuple;
	suspect->kind = kind;
	suspect->pad = 0;
	suspect->seen = *seen;
	bpf_ringbuf_submit(suspect, BPF_RB_FORCE_WAKEUP);
}

#endif
