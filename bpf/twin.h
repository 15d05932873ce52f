/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What twin.c exports, and the plain tables that it stands on: fixed room, linear probing, memcpy of keys and values.
 */
#ifndef LOOMIDI_TWIN_H
#define LOOMIDI_TWIN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <loomidi/wire.h>

#include "capture.h"
#include "meter.h"

#define LM_OWN_LIMITS 4096 /* as many as the kernel's map */

enum lm_twin_table {
	LM_TWIN_TUPLES = 0,
	LM_TWIN_HOSTS = 1,
	LM_TWIN_CIDRS = 2,
	LM_TWIN_PROTECTED = 3,
	LM_TWIN_OWN_LIMITS = 4,
	LM_TWIN_TABLES = 5,
	LM_TWIN_WATCH = 5, /* counters: to read with lm_twin_next only */
};

struct lm_twin_settings {
	uint32_t entries; /* per verdict table */
	uint32_t flows;	  /* of one drain interval */
	uint32_t watched; /* sources and services */
	uint32_t records; /* finished or overflowed flows until the next drain */
	uint32_t suspects;
	uint32_t inner; /* look inside tunnels */
};

struct lm_env;

LM_API struct lm_env *lm_twin_open(const struct lm_twin_settings *s);
LM_API void lm_twin_close(struct lm_env *env);
LM_API struct lm_control *lm_twin_control(struct lm_env *env);
LM_API const struct lm_count *lm_twin_counts(const struct lm_env *env);
LM_API void *lm_twin_lookup(struct lm_env *env, uint32_t table, const void *key);
LM_API int lm_twin_update(struct lm_env *env, uint32_t table, const void *key, const void *value);
LM_API int lm_twin_delete(struct lm_env *env, uint32_t table, const void *key);
/* The element behind `slot` (-1: the first), copied out; returns its slot, -1 at the end. */
LM_API int64_t lm_twin_next(struct lm_env *env, uint32_t table, int64_t slot, void *key, void *value);
/* One Ethernet frame; returns LM_PASS or LM_DROP. */
LM_API int lm_twin_packet(struct lm_env *env, const uint8_t *frame, uint32_t captured, uint32_t wire, uint64_t at_ns);
LM_API uint32_t lm_twin_suspects(struct lm_env *env, struct lm_suspect *out, uint32_t room);
LM_API int lm_twin_drain(struct lm_env *env, struct lm_meter *m);
LM_API struct lm_capture *lm_frames_open(const char *path);
LM_API int lm_frames_next(struct lm_capture *capture, struct lm_frame *frame);
LM_API void lm_frames_close(struct lm_capture *capture);
LM_API int lm_meter_absorb_records(struct lm_meter *m, const struct lm_record *records, uint32_t n, int64_t offset_ns,
				   int as_they_are);

struct lm_pairs {
	uint8_t *used;
	uint8_t *pairs; /* key, padded to 8 octets, then value */
	uint32_t key_octets;
	uint32_t value_octets;
	uint32_t value_at;
	uint32_t stride;
	uint32_t mask;
	uint32_t room;
	uint32_t count;
};

struct lm_queue {
	void *items;
	uint32_t octets;
	uint32_t room;
	uint32_t count;
};

static inline int lm_pairs_open(struct lm_pairs *t, uint32_t key_octets, uint32_t value_octets, uint32_t room)
{
	uint32_t slots = 16;

	while (slots < room * 2ULL)
		slots *= 2;
	t->key_octets = key_octets;
	t->value_octets = value_octets;
	t->value_at = (key_octets + 7U) & ~7U;
	t->stride = t->value_at + ((value_octets + 7U) & ~7U);
	t->mask = slots - 1;
	t->room = room;
	t->used = calloc(slots, 1);
	t->pairs = calloc(slots, t->stride);
	return !t->used || !t->pairs;
}

static inline void lm_pairs_close(struct lm_pairs *t)
{
	free(t->used);
	free(t->pairs);
}

static inline void *lm_pairs_key(const struct lm_pairs *t, uint32_t slot)
{
	return t->pairs + (size_t)slot * t->stride;
}

static inline void *lm_pairs_value(const struct lm_pairs *t, uint32_t slot)
{
	return t->pairs + (size_t)slot * t->stride + t->value_at;
}

static inline uint32_t lm_pairs_home(const struct lm_pairs *t, const void *key)
{
	const uint8_t *at = key;
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (uint32_t i = 0; i < t->key_octets; i++)
		h = (h ^ at[i]) * 0x100000001b3ULL;
	return (uint32_t)(h ^ h >> 32) & t->mask;
}

/* The slot of a key, or the free one where it would go. */
static inline uint32_t lm_pairs_slot(const struct lm_pairs *t, const void *key)
{
	uint32_t slot = lm_pairs_home(t, key);

	while (t->used[slot] && memcmp(lm_pairs_key(t, slot), key, t->key_octets))
		slot = (slot + 1) & t->mask;
	return slot;
}

static inline void *lm_pairs_find(const struct lm_pairs *t, const void *key)
{
	uint32_t slot = lm_pairs_slot(t, key);

	return t->used[slot] ? lm_pairs_value(t, slot) : 0;
}

static inline int lm_pairs_full(const struct lm_pairs *t)
{
	return t->count >= t->room;
}

/* A key that is not there yet. -1 when full. */
static inline int lm_pairs_put(struct lm_pairs *t, const void *key, const void *value)
{
	uint32_t slot;

	if (lm_pairs_full(t))
		return -1;
	slot = lm_pairs_slot(t, key);
	t->used[slot] = 1;
	t->count++;
	memcpy(lm_pairs_key(t, slot), key, t->key_octets);
	memcpy(lm_pairs_value(t, slot), value, t->value_octets);
	return 0;
}

/* Frees a slot and moves back what was pushed behind it. */
static inline void lm_pairs_free(struct lm_pairs *t, uint32_t hole)
{
	uint32_t slot = hole;

	t->count--;
	for (;;) {
		uint32_t home;

		slot = (slot + 1) & t->mask;
		if (!t->used[slot])
			break;
		home = lm_pairs_home(t, lm_pairs_key(t, slot));
		if (((slot - home) & t->mask) < ((slot - hole) & t->mask))
			continue;
		memcpy(lm_pairs_key(t, hole), lm_pairs_key(t, slot), t->stride);
		hole = slot;
	}
	t->used[hole] = 0;
}

static inline int lm_pairs_delete(struct lm_pairs *t, const void *key)
{
	uint32_t slot = lm_pairs_slot(t, key);

	if (!t->used[slot])
		return 0;
	lm_pairs_free(t, slot);
	return 1;
}

/* The next used slot behind `slot`; -1 at the end. */
static inline int64_t lm_pairs_next(const struct lm_pairs *t, int64_t slot)
{
	for (slot++; slot <= (int64_t)t->mask; slot++)
		if (t->used[slot])
			return slot;
	return -1;
}

/* Makes room: a hand goes round and takes the next one. */
static inline void lm_pairs_evict(struct lm_pairs *t, uint32_t *hand)
{
	if (!t->count)
		return;
	while (!t->used[*hand & t->mask])
		++*hand;
	lm_pairs_free(t, *hand & t->mask);
}

static inline void lm_pairs_clear(struct lm_pairs *t)
{
	memset(t->used, 0, (size_t)t->mask + 1);
	t->count = 0;
}

static inline int lm_queue_open(struct lm_queue *q, uint32_t octets, uint32_t room)
{
	q->items = calloc(room ? room : 1, octets);
	q->octets = octets;
	q->room = room;
	return !q->items;
}

static inline int lm_queue_add(struct lm_queue *q, const void *item)
{
	if (q->count >= q->room)
		return -1;
	memcpy((uint8_t *)q->items + (size_t)q->count * q->octets, item, q->octets);
	q->count++;
	return 0;
}

static inline uint32_t lm_queue_take(struct lm_queue *q, void *out, uint32_t room)
{
	uint32_t count = q->count < room ? q->count : room;

	memcpy(out, q->items, (size_t)count * q->octets);
	memmove(q->items, (uint8_t *)q->items + (size_t)count * q->octets, (size_t)(q->count - count) * q->octets);
	q->count -= count;
	return count;
}

/* Clears the octets behind the prefix. */
static inline void lm_prefix_mask(struct lm_prefix *p)
{
	uint8_t *address = (uint8_t *)p + sizeof(p->length);

	for (uint32_t i = 0; i < 16; i++) {
		uint32_t kept = p->length > i * 8 ? p->length - i * 8 : 0;

		if (kept < 8)
			address[i] &= (uint8_t)(0xff00U >> kept);
	}
}

#endif
