/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Causal features of edges; see edges.h. Three tables of fixed size: pairs, sources, destinations; the least recently
 * seen makes room and is counted. A window is ten slots that are added up as they come and taken off as they leave. How
 * many different ends met somebody is exact: a pair counts in the slot of its last edge and moves on with it.
 */
#include "edges.h"

#include <stdlib.h>
#include <string.h>

#define LM_NONE UINT32_MAX
#define LM_MAGIC 0x314547444C4D4C00ULL /* layout of what is saved */

static const uint64_t lm_slot_ns[LM_EDGE_WINDOWS] = {6000000000ULL, 60000000000ULL, 360000000000ULL};

struct lm_ring {
	uint32_t at; /* number of the newest slot since the epoch */
	uint32_t sum;
	uint32_t slot[LM_EDGE_SLOTS];
};

struct lm_entry {
	uint64_t key;
	uint64_t born; /* number of the edge that made it */
	uint64_t seen; /* number of its last edge */
	int64_t last_ns;
	uint64_t total;
	uint32_t degree; /* of an end: different other ends so far */
	uint32_t next;	 /* in its chain */
	uint32_t newer;
	uint32_t older;
	struct lm_ring counts[LM_EDGE_WINDOWS];
	struct lm_ring others[]; /* of an end: different other ends */
};

#define LM_PAIR_OCTETS sizeof(struct lm_entry)
#define LM_END_OCTETS (sizeof(struct lm_entry) + LM_EDGE_WINDOWS * sizeof(struct lm_ring))

struct lm_table {
	uint8_t *entries;
	uint32_t *heads;
	size_t stride;
	uint32_t mask;
	uint32_t room;
	uint32_t count;
	uint32_t newest;
	uint32_t oldest;
	uint64_t forgotten;
};

enum { LM_PAIRS, LM_SOURCES, LM_DESTINATIONS, LM_TABLES };

struct lm_edges {
	struct lm_edges_settings settings;
	struct lm_table tables[LM_TABLES];
	uint64_t number; /* of edges so far */
	uint64_t late;
	int64_t now_ns;
};

struct lm_edges_head {
	uint64_t magic;
	struct lm_edges_settings settings;
	uint64_t number;
	uint64_t late;
	int64_t now_ns;
	uint64_t forgotten[LM_TABLES];
	uint64_t count[LM_TABLES];
};

static inline struct lm_entry *lm_at(const struct lm_table *t, uint32_t index)
{
	return (struct lm_entry *)(t->entries + (size_t)index * t->stride);
}

static void lm_empty(struct lm_table *t)
{
	memset(t->heads, 0xff, ((size_t)t->mask + 1) * sizeof(*t->heads));
	t->count = 0;
	t->newest = t->oldest = LM_NONE;
	t->forgotten = 0;
}

static int lm_table_open(struct lm_table *t, uint32_t room, size_t stride)
{
	uint32_t heads = 16;

	while (heads < room && heads < (1U << 31))
		heads <<= 1;
	t->entries = malloc((size_t)room * stride);
	t->heads = malloc((size_t)heads * sizeof(*t->heads));
	if (!t->entries || !t->heads)
		return -1;
	t->stride = stride;
	t->mask = heads - 1;
	t->room = room;
	lm_empty(t);
	return 0;
}

static void lm_unlink_age(struct lm_table *t, struct lm_entry *e)
{
	if (e->newer != LM_NONE)
		lm_at(t, e->newer)->older = e->older;
	else
		t->newest = e->older;
	if (e->older != LM_NONE)
		lm_at(t, e->older)->newer = e->newer;
	else
		t->oldest = e->newer;
}

static void lm_link_newest(struct lm_table *t, struct lm_entry *e, uint32_t index)
{
	e->newer = LM_NONE;
	e->older = t->newest;
	if (t->newest != LM_NONE)
		lm_at(t, t->newest)->newer = index;
	else
		t->oldest = index;
	t->newest = index;
}

static uint32_t lm_forget_oldest(struct lm_table *t)
{
	uint32_t index = t->oldest;
	struct lm_entry *e = lm_at(t, index);
	uint32_t *link = &t->heads[lm_mix64(e->key) & t->mask];

	while (*link != index)
		link = &lm_at(t, *link)->next;
	*link = e->next;
	lm_unlink_age(t, e);
	t->forgotten++;
	return index;
}

/* A fresh entry, the newest of its table. */
static struct lm_entry *lm_add(struct lm_table *t, uint64_t key)
{
	uint32_t index = t->count < t->room ? t->count++ : lm_forget_oldest(t);
	uint32_t *head = &t->heads[lm_mix64(key) & t->mask];
	struct lm_entry *e = lm_at(t, index);

	memset(e, 0, t->stride);
	e->key = key;
	e->next = *head;
	*head = index;
	lm_link_newest(t, e, index);
	return e;
}

/* The entry of a key, the newest of its table from now on; seen is 0 in a fresh one. */
static struct lm_entry *lm_touch(struct lm_table *t, uint64_t key, uint64_t number)
{
	uint32_t index = t->heads[lm_mix64(key) & t->mask];

	while (index != LM_NONE && lm_at(t, index)->key != key)
		index = lm_at(t, index)->next;
	if (index == LM_NONE) {
		struct lm_entry *e = lm_add(t, key);

		e->born = number;
		return e;
	}
	if (index != t->newest) {
		lm_unlink_age(t, lm_at(t, index));
		lm_link_newest(t, lm_at(t, index), index);
	}
	return lm_at(t, index);
}

static void lm_turn(struct lm_ring *r, uint32_t to)
{
	if (to - r->at >= LM_EDGE_SLOTS) {
		memset(r, 0, sizeof(*r));
	} else {
		for (uint32_t at = r->at + 1; at <= to; at++) {
			r->sum -= r->slot[at % LM_EDGE_SLOTS];
			r->slot[at % LM_EDGE_SLOTS] = 0;
		}
	}
	r->at = to;
}

static void lm_charge(struct lm_ring *r, uint32_t n)
{
	uint32_t fits = UINT32_MAX - r->sum;

	n = n < fits ? n : fits;
	r->slot[r->at % LM_EDGE_SLOTS] += n;
	r->sum += n;
}

static void lm_count_edge(struct lm_entry *e, const uint32_t *slots, uint32_t weight)
{
	e->total += weight;
	for (int w = 0; w < LM_EDGE_WINDOWS; w++) {
		lm_turn(&e->counts[w], slots[w]);
		lm_charge(&e->counts[w], weight);
	}
}

/* The other end of this pair counts in the slot of now; in that of its edge before no more. */
static void lm_count_other(struct lm_entry *end, const struct lm_entry *pair, const uint32_t *slots)
{
	int known = pair->seen > 0 && pair->seen >= end->born;

	end->degree += !known;
	for (int w = 0; w < LM_EDGE_WINDOWS; w++) {
		struct lm_ring *r = &end->others[w];
		uint32_t before = known ? (uint32_t)((uint64_t)pair->last_ns / lm_slot_ns[w]) : 0;

		lm_turn(r, slots[w]);
		if (!known || slots[w] - before >= LM_EDGE_SLOTS) {
			lm_charge(r, 1);
		} else if (before != slots[w] && r->slot[before % LM_EDGE_SLOTS]) {
			r->slot[before % LM_EDGE_SLOTS]--;
			r->slot[slots[w] % LM_EDGE_SLOTS]++;
		}
	}
}

/* Seconds since the last edge of an entry, at most the horizon; closes the edge in it. */
static float lm_gap(struct lm_edges *e, struct lm_entry *entry)
{
	uint64_t gap = entry->seen ? (uint64_t)(e->now_ns - entry->last_ns) : e->settings.horizon_ns;

	entry->seen = e->number;
	entry->last_ns = e->now_ns;
	return (float)((gap < e->settings.horizon_ns ? gap : e->settings.horizon_ns) * 1e-9);
}

static void lm_feed_one(struct lm_edges *e, uint64_t source, uint64_t destination, uint32_t weight, float *f, size_t n)
{
	uint64_t pair_key = lm_mix64(source + 0x9E3779B97F4A7C15ULL) + destination;
	struct lm_entry *entry[LM_TABLES];
	uint32_t slots[LM_EDGE_WINDOWS];
	int fresh;

	for (int w = 0; w < LM_EDGE_WINDOWS; w++)
		slots[w] = (uint32_t)((uint64_t)e->now_ns / lm_slot_ns[w]);
	entry[LM_PAIRS] = lm_touch(&e->tables[LM_PAIRS], lm_mix64(pair_key), e->number);
	entry[LM_SOURCES] = lm_touch(&e->tables[LM_SOURCES], source, e->number);
	entry[LM_DESTINATIONS] = lm_touch(&e->tables[LM_DESTINATIONS], destination, e->number);
	fresh = !entry[LM_PAIRS]->seen;
	for (int k = 0; k < LM_TABLES; k++)
		lm_count_edge(entry[k], slots, weight);
	lm_count_other(entry[LM_SOURCES], entry[LM_PAIRS], slots);
	lm_count_other(entry[LM_DESTINATIONS], entry[LM_PAIRS], slots);
	for (int w = 0; w < LM_EDGE_WINDOWS; w++) {
		for (int k = 0; k < LM_TABLES; k++)
			f[(size_t)(5 * w + k) * n] = (float)entry[k]->counts[w].sum;
		f[(size_t)(5 * w + 3) * n] = (float)entry[LM_SOURCES]->others[w].sum;
		f[(size_t)(5 * w + 4) * n] = (float)entry[LM_DESTINATIONS]->others[w].sum;
	}
	for (int k = 0; k < LM_TABLES; k++) {
		f[(size_t)(15 + k) * n] = (float)entry[k]->total;
		f[(size_t)(20 + k) * n] = lm_gap(e, entry[k]);
	}
	f[(size_t)18 * n] = (float)entry[LM_SOURCES]->degree;
	f[(size_t)19 * n] = (float)entry[LM_DESTINATIONS]->degree;
	f[(size_t)23 * n] = (float)fresh;
}

struct lm_edges *lm_edges_open(const struct lm_edges_settings *s)
{
	struct lm_edges *e = s->max_pairs && s->max_ends && s->horizon_ns ? calloc(1, sizeof(*e)) : NULL;

	if (!e)
		return NULL;
	e->settings = *s;
	if (lm_table_open(&e->tables[LM_PAIRS], s->max_pairs, LM_PAIR_OCTETS) ||
	    lm_table_open(&e->tables[LM_SOURCES], s->max_ends, LM_END_OCTETS) ||
	    lm_table_open(&e->tables[LM_DESTINATIONS], s->max_ends, LM_END_OCTETS)) {
		lm_edges_close(e);
		return NULL;
	}
	return e;
}

void lm_edges_close(struct lm_edges *e)
{
	for (int k = 0; e && k < LM_TABLES; k++) {
		free(e->tables[k].entries);
		free(e->tables[k].heads);
	}
	free(e);
}

void lm_edges_feed(struct lm_edges *e, size_t n, const int64_t *times_ns, const uint64_t *sources,
		   const uint64_t *destinations, const uint32_t *weights, float *out)
{
	for (size_t i = 0; i < n; i++) {
		if (times_ns[i] >= e->now_ns)
			e->now_ns = times_ns[i];
		else
			e->late++;
		e->number++;
		lm_feed_one(e, sources[i], destinations[i], weights ? weights[i] : 1, out + i, n);
	}
}

void lm_edges_count(const struct lm_edges *e, struct lm_edges_counts *counts)
{
	memset(counts, 0, sizeof(*counts));
	counts->edges = e->number;
	counts->late = e->late;
	counts->forgotten_pairs = e->tables[LM_PAIRS].forgotten;
	counts->forgotten_sources = e->tables[LM_SOURCES].forgotten;
	counts->forgotten_destinations = e->tables[LM_DESTINATIONS].forgotten;
	counts->pairs = e->tables[LM_PAIRS].count;
	counts->sources = e->tables[LM_SOURCES].count;
	counts->destinations = e->tables[LM_DESTINATIONS].count;
}

size_t lm_edges_size(const struct lm_edges *e)
{
	size_t size = sizeof(struct lm_edges_head);

	for (int k = 0; k < LM_TABLES; k++)
		size += e->tables[k].count * e->tables[k].stride;
	return size;
}

void lm_edges_save(const struct lm_edges *e, uint8_t *to)
{
	struct lm_edges_head head = {
		.magic = LM_MAGIC,
		.settings = e->settings,
		.number = e->number,
		.late = e->late,
		.now_ns = e->now_ns,
	};

	for (int k = 0; k < LM_TABLES; k++) {
		head.forgotten[k] = e->tables[k].forgotten;
		head.count[k] = e->tables[k].count;
	}
	memcpy(to, &head, sizeof(head));
	to += sizeof(head);
	for (int k = 0; k < LM_TABLES; k++) {
		const struct lm_table *t = &e->tables[k];

		/* Oldest first: adding them again in this order gives the same order of age. */
		for (uint32_t i = t->oldest; i != LM_NONE; i = lm_at(t, i)->newer, to += t->stride) {
			struct lm_entry *copy = (struct lm_entry *)to;

			memcpy(to, lm_at(t, i), t->stride);
			memset(to + offsetof(struct lm_entry, next), 0, 3 * sizeof(copy->next));
		}
	}
}

static void lm_put_back(struct lm_table *t, const uint8_t *from)
{
	struct lm_entry saved, *e;
	uint32_t next, newer, older;

	memcpy(&saved, from, sizeof(saved));
	e = lm_add(t, saved.key);
	next = e->next;
	newer = e->newer;
	older = e->older;
	memcpy(e, from, t->stride);
	e->next = next;
	e->newer = newer;
	e->older = older;
}

int lm_edges_load(struct lm_edges *e, const uint8_t *from, size_t size)
{
	struct lm_edges_head head;
	size_t wanted = sizeof(head);
	int fits = size >= sizeof(head);

	for (int k = 0; k < LM_TABLES; k++)
		lm_empty(&e->tables[k]);
	e->number = e->late = 0;
	e->now_ns = 0;
	if (fits)
		memcpy(&head, from, sizeof(head));
	fits = fits && head.magic == LM_MAGIC && !memcmp(&head.settings, &e->settings, sizeof(head.settings));
	for (int k = 0; fits && k < LM_TABLES; k++) {
		fits = head.count[k] <= e->tables[k].room;
		wanted += fits ? head.count[k] * e->tables[k].stride : 0;
	}
	if (!fits || size != wanted)
		return -1;
	e->number = head.number;
	e->late = head.late;
	e->now_ns = head.now_ns;
	from += sizeof(head);
	for (int k = 0; k < LM_TABLES; k++) {
		for (uint64_t i = 0; i < head.count[k]; i++, from += e->tables[k].stride)
			lm_put_back(&e->tables[k], from);
		e->tables[k].forgotten = head.forgotten[k];
	}
	return 0;
}

void lm_hash_texts(size_t n, const int32_t *offsets, const uint8_t *octets, uint64_t seed, uint64_t *out)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = octets + offsets[i];
		size_t left = (size_t)(offsets[i + 1] - offsets[i]);
		uint64_t hash = lm_mix64(seed + 0x9E3779B97F4A7C15ULL * (left + 1));

		while (left) {
			size_t step = left < 8 ? left : 8;
			uint64_t word = 0;

			memcpy(&word, at, step);
			hash = lm_mix64(hash ^ word) + 0x9E3779B97F4A7C15ULL;
			at += step;
			left -= step;
		}
		out[i] = hash;
	}
}
