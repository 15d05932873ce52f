/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Partial flows that the kernel (or the twin) drained, merged into the table of a meter. Called through ctypes and by
 * ring.c and twin.c. Expiry is left to meter.c.
 */
#include <errno.h>
#include <string.h>

#include "inside.h"

static void lm_shift(struct lm_flow *f, int64_t by)
{
	f->first_ns += (uint64_t)by;
	f->last_ns += (uint64_t)by;
	f->active_from_ns += (uint64_t)by;
	for (int i = 0; i < 2; i++) {
		if (!f->side[i].packets)
			continue;
		f->side[i].first_ns += (uint64_t)by;
		f->side[i].last_ns += (uint64_t)by;
	}
}

/* Merges one partial state, already in our time. */
static int lm_absorb_one(struct lm_meter *m, const struct lm_key *key, uint32_t hash, const struct lm_flow *part)
{
	struct lm_table *t = &m->table;
	uint32_t i = lm_table_find(t, key, hash);
	struct lm_flow *f;
	int direction = -1;

	if (i != LM_NO_ENTRY) {
		__u8 reason;

		f = &lm_entry_at(t, i)->flow;
		reason = lm_flow_split(f, part->first_ns, part->first_flags, &m->settings.flow);
		if (reason && part->first_ns > f->last_ns) {
			lm_table_end(t, i, reason);
			if (reason == LM_END_ACTIVE)
				direction = f->initiator_is_high;
			i = LM_NO_ENTRY;
		}
	}
	if (i == LM_NO_ENTRY) {
		i = lm_add_flow(m, key, hash, part->last_ns);
		if (i == LM_NO_ENTRY)
			return -ENOMEM;
		f = &lm_entry_at(t, i)->flow;
		*f = *part;
		f->end = LM_END_NONE;
		if (direction >= 0) {
			if (f->initiator_is_high != direction)
				lm_flow_turn(f);
			f->inherited = 1;
		}
	} else if (part->first_ns < f->first_ns) { /* another CPU saw its beginning: that part gives the direction */
		struct lm_flow first = *part;

		lm_flow_merge(&first, f, &m->settings.flow);
		*f = first;
		f->end = LM_END_NONE;
		if (direction >= 0) {
			if (f->initiator_is_high != direction)
				lm_flow_turn(f);
			f->inherited = 1;
		}
	} else {
		lm_flow_merge(f, part, &m->settings.flow);
	}
	if (part->end)
		lm_table_end(t, i, part->end);
	else
		lm_table_touch(t, i, f->last_ns, lm_list_of(m, f));
	return 0;
}

int lm_meter_absorb(struct lm_meter *m, const struct lm_key *keys, const void *values, uint32_t n, uint32_t cpus,
		    size_t stride, int64_t offset_ns)
{
	const char *at = values;
	int status = 0;

	for (uint32_t k = 0; k < n; k++, at += cpus * stride) {
		uint32_t hash = (uint32_t)lm_hash_key(&keys[k], m->table.seed);
		uint64_t done_ns = 0;
		uint32_t done = 0;

		/* The parts in order of their start; equal starts in order of the CPU. Few CPUs saw one flow. */
		for (uint32_t round = 0; round < cpus; round++) {
			struct lm_flow part;
			const char *next = NULL;
			uint64_t next_ns = 0;
			uint32_t next_cpu = 0;

			for (uint32_t cpu = 0; cpu < cpus; cpu++) {
				memcpy(&part, at + cpu * stride, sizeof(part));
				if (!part.side[0].packets && !part.side[1].packets)
					continue;
				if (round && (part.first_ns < done_ns || (part.first_ns == done_ns && cpu <= done)))
					continue;
				if (next && part.first_ns >= next_ns)
					continue;
				next = at + cpu * stride;
				next_ns = part.first_ns;
				next_cpu = cpu;
			}
			if (!next)
				break;
			memcpy(&part, next, sizeof(part));
			done_ns = next_ns;
			done = next_cpu;
			lm_shift(&part, offset_ns);
			if (lm_absorb_one(m, &keys[k], hash, &part))
				status = -ENOMEM;
		}
	}
	return status;
}

int lm_meter_peek(const struct lm_meter *m, struct lm_key *key, void *flow)
{
	const struct lm_table *t = &m->table;
	uint32_t i = t->oldest[LM_LIST_OPEN] != LM_NO_ENTRY ? t->oldest[LM_LIST_OPEN] : t->oldest[LM_LIST_CLOSING];

	if (i == LM_NO_ENTRY)
		return -ENOENT;
	*key = lm_entry_at(t, i)->key;
	memcpy(flow, &lm_entry_at(t, i)->flow, sizeof(struct lm_flow));
	return 0;
}
