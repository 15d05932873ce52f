/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The flow table of one meter: hash index, entries, lists by last sight (open, closing and unanswered flows), and the queue of
 * flows that ended and wait for export. Called by meter.c. Leaves all timing and policy to it.
 */
#ifndef LOOMIDI_TABLE_H
#define LOOMIDI_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <loomidi/flow.h>

#define LM_NO_ENTRY UINT32_MAX
#ifndef LM_CHUNK_BITS
#define LM_CHUNK_BITS 13U /* 8192 flows: three huge pages */
#define LM_HUGE_PAGE (2U << 20)
#endif
#define LM_CHUNK (1U << LM_CHUNK_BITS)

struct lm_entry {
	struct lm_key key;
	struct lm_flow flow;
} __attribute__((aligned(64)));

enum lm_list {
	LM_LIST_OPEN = 0,
	LM_LIST_CLOSING = 1,	/* after FIN/FIN or RST: ends after the short linger time */
	LM_LIST_UNANSWERED = 2, /* one side is silent, where such flows end sooner (lm_meter_settings) */
	LM_LISTS = 3,
};

/* Beside the entries and small, so that list upkeep and expiry stay in the cache. */
struct lm_link {
	uint64_t seen_ns;
	uint32_t older; /* next free one when the entry is free */
	uint32_t newer;
	uint32_t hash;
	uint32_t list;
};

struct lm_table {
	struct lm_entry **chunks;
	struct lm_link *links;
	uint32_t *slots;  /* entry + 1, 0 when empty */
	uint32_t *hashes; /* of the same slot: most misses end here */
	uint32_t *ended;  /* ring of `room` entries */
	uint64_t seed;
	uint32_t room; /* entries there are */
	uint32_t free; /* head of the free list */
	uint32_t mask;
	uint32_t live;
	uint32_t ended_from;
	uint32_t ended_count;
	uint32_t oldest[LM_LISTS];
	uint32_t newest[LM_LISTS];
};

static inline struct lm_entry *lm_entry_at(const struct lm_table *t, uint32_t i)
{
	return &t->chunks[i >> LM_CHUNK_BITS][i & (LM_CHUNK - 1)];
}

static inline uint64_t lm_mix(uint64_t a, uint64_t b)
{
	unsigned __int128 r = (unsigned __int128)a * b;

	return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* 64-bit hash of a key. The seed keeps an attacker from choosing colliding flows. */
static inline uint64_t lm_hash_key(const struct lm_key *key, uint64_t seed)
{
	uint64_t w[6];

	_Static_assert(sizeof(*key) == sizeof(w), "the key is six words");
	__builtin_memcpy(w, key, sizeof(w));
	seed ^= 0x9e3779b97f4a7c15U;
	seed = lm_mix(w[0] ^ 0xa0761d6478bd642fU, w[1] ^ seed);
	seed = lm_mix(w[2] ^ 0xe7037ed1a0b428dbU, w[3] ^ seed);
	seed = lm_mix(w[4] ^ 0x8ebc6af09c88c6e3U, w[5] ^ seed);
	return lm_mix(seed, 0x589965cc75374cc3U);
}

int lm_table_init(struct lm_table *t, uint64_t seed);
void lm_table_free(struct lm_table *t);

/* The entry of a live flow, or LM_NO_ENTRY. */
uint32_t lm_table_find(const struct lm_table *t, const struct lm_key *key, uint32_t hash);

/* A zeroed flow for a key that is not there; newest of the open list. LM_NO_ENTRY when memory is out. */
uint32_t lm_table_add(struct lm_table *t, const struct lm_key *key, uint32_t hash, uint64_t seen_ns);

/* The flow seen least recently, a closing one before others of the same time; LM_NO_ENTRY when there is none. */
uint32_t lm_table_oldest(const struct lm_table *t);

/* Moves the entry to the newest end of a list. */
void lm_table_touch(struct lm_table *t, uint32_t i, uint64_t seen_ns, enum lm_list list);

/* Takes the flow out of the index and its list and queues it for export. */
void lm_table_end(struct lm_table *t, uint32_t i, uint8_t reason);

/* The n-th flow of the export queue, and giving the first n back. */
const struct lm_entry *lm_table_ended(const struct lm_table *t, uint32_t n);
void lm_table_drop_ended(struct lm_table *t, uint32_t n);

#endif
