/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* See table.h. Linear probing with backward-shift deletion; entries in chunks, so that they never move. */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LM_FIRST_SLOTS 4096U

_Static_assert(LM_CHUNK * sizeof(struct lm_entry) % LM_HUGE_PAGE == 0, "chunks are whole huge pages");

static void lm_free_entry(struct lm_table *t, uint32_t i)
{
	t->links[i].older = t->free;
	t->free = i;
}

/* The ring of ended flows holds as many as there are entries, so it can never be full. */
static int lm_grow_ended(struct lm_table *t, uint32_t room)
{
	uint32_t *ended = malloc((size_t)room * sizeof(*ended));

	if (!ended)
		return -1;
	for (uint32_t i = 0; i < t->ended_count; i++)
		ended[i] = t->ended[(t->ended_from + i) % t->room];
	free(t->ended);
	t->ended = ended;
	t->ended_from = 0;
	return 0;
}

/* One more chunk of entries, all free, the lowest number first. */
static int lm_grow_entries(struct lm_table *t)
{
	uint32_t chunk = t->room >> LM_CHUNK_BITS, room = t->room + LM_CHUNK;
	struct lm_entry **chunks;
	struct lm_link *links;

	if (room < t->room)
		return -1;
	chunks = realloc(t->chunks, (chunk + 1) * sizeof(*chunks));
	if (!chunks)
		return -1;
	t->chunks = chunks;
	links = realloc(t->links, (size_t)room * sizeof(*links));
	if (!links)
		return -1;
	t->links = links;
	chunks[chunk] = aligned_alloc(LM_HUGE_PAGE, LM_CHUNK * sizeof(struct lm_entry));
	if (!chunks[chunk])
		return -1;
	/* Flows are met in no order: with small pages most of them cost a walk of the page table. */
	(void)madvise(chunks[chunk], LM_CHUNK * sizeof(struct lm_entry), MADV_HUGEPAGE);
	if (lm_grow_ended(t, room)) {
		free(chunks[chunk]);
		return -1;
	}
	for (uint32_t i = room; i > t->room; i--)
		lm_free_entry(t, i - 1);
	t->room = room;
	return 0;
}

static void lm_put_slot(struct lm_table *t, uint32_t hash, uint32_t i)
{
	uint32_t at = hash & t->mask;

	while (t->slots[at])
		at = (at + 1) & t->mask;
	t->slots[at] = i + 1;
	t->hashes[at] = hash;
}

static int lm_resize(struct lm_table *t, uint32_t slots)
{
	uint32_t *old = t->slots, *old_hashes = t->hashes, count = old ? t->mask + 1 : 0;

	t->slots = calloc(slots, sizeof(*t->slots));
	t->hashes = malloc((size_t)slots * sizeof(*t->hashes));
	if (!t->slots || !t->hashes) {
		free(t->slots);
		free(t->hashes);
		t->slots = old;
		t->hashes = old_hashes;
		return -1;
	}
	t->mask = slots - 1;
	for (uint32_t i = 0; i < count; i++)
		if (old[i])
			lm_put_slot(t, old_hashes[i], old[i] - 1);
	free(old);
	free(old_hashes);
	return 0;
}

int lm_table_init(struct lm_table *t, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	t->seed = seed;
	t->free = LM_NO_ENTRY;
	for (int i = 0; i < LM_LISTS; i++)
		t->oldest[i] = t->newest[i] = LM_NO_ENTRY;
	return lm_resize(t, LM_FIRST_SLOTS);
}

void lm_table_free(struct lm_table *t)
{
	for (uint32_t i = 0; i < t->room >> LM_CHUNK_BITS; i++)
		free(t->chunks[i]);
	free(t->chunks);
	free(t->links);
	free(t->slots);
	free(t->hashes);
	free(t->ended);
	memset(t, 0, sizeof(*t));
}

static int lm_same_key(const struct lm_key *a, const struct lm_key *b)
{
	uint64_t x[6], y[6];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) | (x[5] ^ y[5]));
}

uint32_t lm_table_find(const struct lm_table *t, const struct lm_key *key, uint32_t hash)
{
	uint32_t at = hash & t->mask;

	for (; t->slots[at]; at = (at + 1) & t->mask) {
		uint32_t i = t->slots[at] - 1;

		if (t->hashes[at] == hash && lm_same_key(&lm_entry_at(t, i)->key, key))
			return i;
	}
	return LM_NO_ENTRY;
}

static void lm_unlink(struct lm_table *t, uint32_t i)
{
	struct lm_link *link = &t->links[i];

	if (link->older != LM_NO_ENTRY)
		t->links[link->older].newer = link->newer;
	else
		t->oldest[link->list] = link->newer;
	if (link->newer != LM_NO_ENTRY)
		t->links[link->newer].older = link->older;
	else
		t->newest[link->list] = link->older;
}

static void lm_link_newest(struct lm_table *t, uint32_t i, uint64_t seen_ns, uint32_t list)
{
	struct lm_link *link = &t->links[i];

	link->seen_ns = seen_ns;
	link->list = list;
	link->newer = LM_NO_ENTRY;
	link->older = t->newest[list];
	if (link->older != LM_NO_ENTRY)
		t->links[link->older].newer = i;
	else
		t->oldest[list] = i;
	t->newest[list] = i;
}

uint32_t lm_table_add(struct lm_table *t, const struct lm_key *key, uint32_t hash, uint64_t seen_ns)
{
	struct lm_entry *entry;
	uint32_t i;

	if (t->live >= (t->mask + 1) / 2 && t->mask < UINT32_MAX / 2 && lm_resize(t, (t->mask + 1) * 2) &&
	    t->live >= t->mask)
		return LM_NO_ENTRY;
	if (t->free == LM_NO_ENTRY && lm_grow_entries(t))
		return LM_NO_ENTRY;
	i = t->free;
	t->free = t->links[i].older;
	entry = lm_entry_at(t, i);
	entry->key = *key;
	memset(&entry->flow, 0, sizeof(entry->flow));
	t->links[i].hash = hash;
	lm_link_newest(t, i, seen_ns, LM_LIST_OPEN);
	lm_put_slot(t, hash, i);
	t->live++;
	return i;
}

uint32_t lm_table_oldest(const struct lm_table *t)
{
	uint32_t found = t->oldest[LM_LIST_CLOSING];

	for (int list = 0; list < LM_LISTS; list++) {
		uint32_t i = t->oldest[list];

		if (i != LM_NO_ENTRY && (found == LM_NO_ENTRY || t->links[i].seen_ns < t->links[found].seen_ns))
			found = i;
	}
	return found;
}

void lm_table_touch(struct lm_table *t, uint32_t i, uint64_t seen_ns, enum lm_list list)
{
	if (t->links[i].list == (uint32_t)list && t->newest[list] == i) {
		t->links[i].seen_ns = seen_ns;
		return;
	}
	lm_unlink(t, i);
	lm_link_newest(t, i, seen_ns, list);
}

/* Closes the hole at `at`: moves back every later slot of the run that may stand there. */
static void lm_remove_slot(struct lm_table *t, uint32_t at)
{
	uint32_t next = at;

	for (;;) {
		next = (next + 1) & t->mask;
		if (!t->slots[next])
			break;
		if (((next - t->hashes[next]) & t->mask) < ((next - at) & t->mask))
			continue;
		t->slots[at] = t->slots[next];
		t->hashes[at] = t->hashes[next];
		at = next;
	}
	t->slots[at] = 0;
}

void lm_table_end(struct lm_table *t, uint32_t i, uint8_t reason)
{
	uint32_t at = t->links[i].hash & t->mask;
	struct lm_entry *e = lm_entry_at(t, i);

	while (t->slots[at] != i + 1)
		at = (at + 1) & t->mask;
	lm_remove_slot(t, at);
	lm_unlink(t, i);
	lm_flow_settle(&e->flow, &e->key);
	e->flow.end = reason;
	t->ended[(t->ended_from + t->ended_count) % t->room] = i;
	t->ended_count++;
	t->live--;
}

const struct lm_entry *lm_table_ended(const struct lm_table *t, uint32_t n)
{
	return lm_entry_at(t, t->ended[(t->ended_from + n) % t->room]);
}

void lm_table_drop_ended(struct lm_table *t, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		lm_free_entry(t, t->ended[(t->ended_from + i) % t->room]);
	t->ended_count -= n;
	t->ended_from = t->ended_count ? (t->ended_from + n) % t->room : 0;
}
