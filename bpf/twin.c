// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The shield in user space: shield.h over plain tables. The reference that the kernel is tested against, and what runs
 * where there is no XDP. Called by src/loomidi/loom/capture/twin.py. One thread per twin; no globals.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <loomidi/wire.h>

#include "capture.h"
#include "meter.h"
#include "twin.h"

#define LM_OUTLINE static __attribute__((unused))

struct lm_env {
	struct lm_control control;
	struct lm_count counts[LM_COUNTERS];
	struct lm_pairs tables[LM_TWIN_TABLES];
	uint32_t lengths[LM_TWIN_TABLES][129]; /* entries per prefix length */
	struct lm_pairs flows;
	struct lm_pairs watch;
	uint32_t hand; /* of the clock that makes room in `watch` */
	struct lm_record scratch;
	struct lm_queue records;
	struct lm_queue suspects;
	int inner;
};

LM_INLINE void lm_atomic_add(__u64 *to, __u64 n)
{
	*to += n;
}

LM_INLINE void lm_atomic_add32(__u32 *to, __u32 n)
{
	*to += n;
}

LM_INLINE int lm_atomic_swap_if(__u64 *at, __u64 from, __u64 to)
{
	(void)from;
	*at = to;
	return 1;
}

LM_INLINE __u64 lm_now(const struct lm_packet *p)
{
	return p->at_ns;
}

LM_INLINE __u64 lm_now_coarse(const struct lm_packet *p)
{
	return p->at_ns;
}

LM_INLINE struct lm_control *lm_control_of(struct lm_env *env)
{
	return &env->control;
}

LM_INLINE void lm_count(struct lm_env *env, __u32 reason, __u32 octets)
{
	env->counts[reason].packets++;
	env->counts[reason].octets += octets;
}

LM_INLINE struct lm_verdict *lm_tuple_find(struct lm_env *env, const struct lm_tuple *tuple)
{
	return lm_pairs_find(&env->tables[LM_TWIN_TUPLES], tuple);
}

LM_INLINE struct lm_verdict *lm_host_find(struct lm_env *env, const struct lm_addr *address)
{
	return lm_pairs_find(&env->tables[LM_TWIN_HOSTS], address);
}

/* The longest prefix of at most `bits` that holds the address. */
static void *lm_longest(struct lm_env *env, int table, const struct lm_addr *address, __u32 bits)
{
	for (int length = (int)bits; length >= 0; length--) {
		struct lm_prefix key = {(__u32)length, *address};
		void *value;

		if (!env->lengths[table][length])
			continue;
		lm_prefix_mask(&key);
		value = lm_pairs_find(&env->tables[table], &key);
		if (value)
			return value;
	}
	return 0;
}

LM_INLINE struct lm_verdict *lm_cidr_find(struct lm_env *env, const struct lm_addr *address, __u32 bits)
{
	return lm_longest(env, LM_TWIN_CIDRS, address, bits);
}

LM_INLINE int lm_protected_find(struct lm_env *env, const struct lm_addr *address)
{
	return lm_longest(env, LM_TWIN_PROTECTED, address, 128) != 0;
}

LM_INLINE struct lm_flow *lm_flow_find(struct lm_env *env, __u32 table, const struct lm_key *key)
{
	(void)table;
	return lm_pairs_find(&env->flows, key);
}

LM_INLINE struct lm_flow *lm_scratch_of(struct lm_env *env)
{
	return &env->scratch.flow;
}

LM_INLINE int lm_flow_keep(struct lm_env *env, __u32 table, const struct lm_key *key)
{
	(void)table;
	if (!lm_pairs_put(&env->flows, key, &env->scratch.flow))
		return LM_ACCOUNTED;
	env->scratch.key = *key;
	return lm_queue_add(&env->records, &env->scratch) ? LM_OVERFLOW_LOST : LM_OVERFLOWED;
}

LM_INLINE int lm_record_split(struct lm_env *env, const struct lm_key *key, struct lm_flow *flow, __u8 end)
{
	struct lm_record record = {*key, *flow};

	record.flow.end = end;
	return lm_queue_add(&env->records, &record);
}

LM_INLINE struct lm_watch_state *lm_watch_find(struct lm_env *env, const struct lm_watch_key *key)
{
	return lm_pairs_find(&env->watch, key);
}

LM_INLINE const struct lm_own_limits *lm_own_limits_find(struct lm_env *env, const struct lm_watch_key *key)
{
	return lm_pairs_find(&env->tables[LM_TWIN_OWN_LIMITS], key);
}

LM_INLINE void lm_watch_put(struct lm_env *env, const struct lm_watch_key *key, const struct lm_watch_state *state)
{
	if (lm_pairs_full(&env->watch))
		lm_pairs_evict(&env->watch, &env->hand);
	lm_pairs_put(&env->watch, key, state);
}

LM_INLINE int lm_suspect_tell(struct lm_env *env, __u32 causes, __u32 kind, const struct lm_charge *charge,
			      const struct lm_watch_state *seen)
{
	struct lm_suspect suspect = {
		.at_ns = charge->at_ns, .tuple = charge->tuple, .causes = causes, .kind = kind, .seen = *seen};

	if (!lm_queue_add(&env->suspects, &suspect))
		return 0;
	lm_count(env, LM_UNTOLD, 0);
	return -1;
}

#include <loomidi/shield.h>

struct lm_env *lm_twin_open(const struct lm_twin_settings *s)
{
	struct lm_env *env = calloc(1, sizeof(*env));
	int failed = 0;

	if (!env)
		return 0;
	env->inner = s->inner != 0;
	failed |= lm_pairs_open(&env->tables[LM_TWIN_TUPLES], sizeof(struct lm_tuple), sizeof(struct lm_verdict),
				s->entries);
	failed |= lm_pairs_open(&env->tables[LM_TWIN_HOSTS], sizeof(struct lm_addr), sizeof(struct lm_verdict),
				s->entries);
	failed |= lm_pairs_open(&env->tables[LM_TWIN_CIDRS], sizeof(struct lm_prefix), sizeof(struct lm_verdict),
				s->entries);
	failed |= lm_pairs_open(&env->tables[LM_TWIN_PROTECTED], sizeof(struct lm_prefix), sizeof(__u32), s->entries);
	failed |= lm_pairs_open(&env->tables[LM_TWIN_OWN_LIMITS], sizeof(struct lm_watch_key),
				sizeof(struct lm_own_limits), LM_OWN_LIMITS);
	failed |= lm_pairs_open(&env->flows, sizeof(struct lm_key), sizeof(struct lm_flow), s->flows);
	failed |= lm_pairs_open(&env->watch, sizeof(struct lm_watch_key), sizeof(struct lm_watch_state), s->watched);
	failed |= lm_queue_open(&env->records, sizeof(struct lm_record), s->records);
	failed |= lm_queue_open(&env->suspects, sizeof(struct lm_suspect), s->suspects);
	if (!failed)
		return env;
	lm_twin_close(env);
	return 0;
}

void lm_twin_close(struct lm_env *env)
{
	if (!env)
		return;
	for (int i = 0; i < LM_TWIN_TABLES; i++)
		lm_pairs_close(&env->tables[i]);
	lm_pairs_close(&env->flows);
	lm_pairs_close(&env->watch);
	free(env->records.items);
	free(env->suspects.items);
	free(env);
}

struct lm_control *lm_twin_control(struct lm_env *env)
{
	return &env->control;
}

const struct lm_count *lm_twin_counts(const struct lm_env *env)
{
	return env->counts;
}

static uint32_t *lm_length_of(struct lm_env *env, uint32_t table, const void *key)
{
	struct lm_prefix prefix;

	if (table != LM_TWIN_CIDRS && table != LM_TWIN_PROTECTED)
		return 0;
	memcpy(&prefix, key, sizeof(prefix));
	return &env->lengths[table][prefix.length > 128 ? 128 : prefix.length];
}

void *lm_twin_lookup(struct lm_env *env, uint32_t table, const void *key)
{
	return lm_pairs_find(&env->tables[table], key);
}

int lm_twin_update(struct lm_env *env, uint32_t table, const void *key, const void *value)
{
	struct lm_pairs *pairs = &env->tables[table];
	void *there = lm_pairs_find(pairs, key);
	uint32_t *length = lm_length_of(env, table, key);

	if (there) {
		memcpy(there, value, pairs->value_octets);
		return 0;
	}
	if (lm_pairs_put(pairs, key, value))
		return -1;
	if (length)
		++*length;
	return 0;
}

int lm_twin_delete(struct lm_env *env, uint32_t table, const void *key)
{
	uint32_t *length = lm_length_of(env, table, key);

	if (!lm_pairs_delete(&env->tables[table], key))
		return 0;
	if (length)
		--*length;
	return 1;
}

int64_t lm_twin_next(struct lm_env *env, uint32_t table, int64_t slot, void *key, void *value)
{
	struct lm_pairs *pairs = table == LM_TWIN_WATCH ? &env->watch : &env->tables[table];

	slot = lm_pairs_next(pairs, slot);
	if (slot < 0)
		return -1;
	memcpy(key, lm_pairs_key(pairs, (uint32_t)slot), pairs->key_octets);
	memcpy(value, lm_pairs_value(pairs, (uint32_t)slot), pairs->value_octets);
	return slot;
}

int lm_twin_packet(struct lm_env *env, const uint8_t *frame, uint32_t captured, uint32_t wire, uint64_t at_ns)
{
	struct lm_cursor c = {frame, frame + captured, frame};
	struct lm_packet p = {0};
	int parsed;

	p.at_ns = at_ns;
	p.wire_octets = wire > captured ? wire : captured;
	parsed = lm_parse_frame(&c, &p, env->inner);
	return lm_shield(env, &p, parsed);
}

uint32_t lm_twin_suspects(struct lm_env *env, struct lm_suspect *out, uint32_t room)
{
	return lm_queue_take(&env->suspects, out, room);
}

/* Records of finished flows first, then what is in the table, which is empty afterwards. */
int lm_twin_drain(struct lm_env *env, struct lm_meter *m)
{
	struct lm_pairs *flows = &env->flows;
	int status = lm_meter_absorb_records(m, env->records.items, env->records.count, 0, 1);
	struct lm_record *all = malloc(flows->count * sizeof(*all) + 1);
	uint32_t count = 0;

	if (!all)
		return -1;
	for (int64_t slot = lm_pairs_next(flows, -1); slot >= 0; slot = lm_pairs_next(flows, slot)) {
		memcpy(&all[count].key, lm_pairs_key(flows, (uint32_t)slot), sizeof(struct lm_key));
		memcpy(&all[count++].flow, lm_pairs_value(flows, (uint32_t)slot), sizeof(struct lm_flow));
	}
	if (!status)
		status = lm_meter_absorb_records(m, all, count, 0, 0);
	free(all);
	env->records.count = 0;
	lm_pairs_clear(flows);
	return status;
}

struct lm_capture *lm_frames_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? 0 : lm_capture_open(fd);
}

int lm_frames_next(struct lm_capture *capture, struct lm_frame *frame)
{
	return lm_capture_next(capture, frame);
}

void lm_frames_close(struct lm_capture *capture)
{
	lm_capture_close(capture);
}
