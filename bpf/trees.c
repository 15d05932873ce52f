/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Half-space trees (Tan, Ting, Liu 2011): random cuts that never change, and how many rows fell on each side in the last
 * full window. Where few fell is rare. Memory does not grow; see edges.h.
 */
#include "edges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LM_MAGIC 0x3153454552540000ULL
#define LM_MOST_DEPTH 20
#define LM_MOST_DIMENSIONS 256

struct lm_branch {
	float cut;
	uint32_t dimension;
	uint32_t usual; /* rows of the last full window */
	uint32_t fresh; /* rows of this one */
};

struct lm_trees {
	uint64_t magic;
	struct lm_trees_settings settings;
	uint32_t learned; /* in this window */
	uint32_t windows; /* that are full */
	struct lm_branch branches[];
};

static size_t lm_branches(const struct lm_trees_settings *s)
{
	return (size_t)s->trees << (s->depth + 1);
}

size_t lm_trees_size(const struct lm_trees *t)
{
	return sizeof(*t) + lm_branches(&t->settings) * sizeof(struct lm_branch);
}

static float lm_unit(uint64_t *state)
{
	return (float)((double)(lm_next64(state) >> 11) * 0x1.0p-53);
}

/* Cuts each node in the middle of what is left of a random dimension; node 1 is the root. */
static void lm_grow(struct lm_branch *tree, const struct lm_trees_settings *s, uint64_t *state)
{
	float low[LM_MOST_DIMENSIONS], high[LM_MOST_DIMENSIONS];

	for (uint32_t d = 0; d < s->dimensions; d++) {
		float at = lm_unit(state), reach = 2.0f * (at > 0.5f ? at : 1.0f - at);

		low[d] = at - reach;
		high[d] = at + reach;
	}
	for (size_t node = 1; node < (size_t)1 << s->depth; node++) {
		uint32_t d = (uint32_t)(lm_next64(state) % s->dimensions);
		float from = low[d], to = high[d];

		/* What the nodes above have left of this dimension: the way down to here, once more. */
		for (int bit = 62 - __builtin_clzll(node); bit >= 0; bit--) {
			const struct lm_branch *above = &tree[node >> (bit + 1)];

			if (above->dimension != d)
				continue;
			if (node >> bit & 1)
				from = above->cut;
			else
				to = above->cut;
		}
		tree[node].dimension = d;
		tree[node].cut = 0.5f * (from + to);
	}
}

struct lm_trees *lm_trees_open(const struct lm_trees_settings *s)
{
	uint64_t state = s->seed;
	struct lm_trees *t;

	if (!s->trees || !s->depth || s->depth > LM_MOST_DEPTH || !s->window || !s->dimensions ||
	    s->dimensions > LM_MOST_DIMENSIONS)
		return NULL;
	t = calloc(1, sizeof(*t) + lm_branches(s) * sizeof(struct lm_branch));
	if (!t)
		return NULL;
	t->magic = LM_MAGIC;
	t->settings = *s;
	for (uint32_t k = 0; k < s->trees; k++)
		lm_grow(t->branches + ((size_t)k << (s->depth + 1)), s, &state);
	return t;
}

void lm_trees_close(struct lm_trees *t)
{
	free(t);
}

/* Mass of the place of a row: rows that fell there, times how much smaller than everything it is. */
static double lm_mass(const struct lm_trees *t, const struct lm_branch *tree, const float *row)
{
	size_t node = 1;
	uint32_t depth = 0;

	while (depth < t->settings.depth && tree[node].usual >= t->settings.enough) {
		node = 2 * node + (row[tree[node].dimension] >= tree[node].cut);
		depth++;
	}
	return (double)tree[node].usual * (double)(1ULL << depth);
}

static void lm_learn(struct lm_trees *t, const float *row)
{
	uint32_t depth = t->settings.depth;

	for (uint32_t k = 0; k < t->settings.trees; k++) {
		struct lm_branch *tree = t->branches + ((size_t)k << (depth + 1));
		size_t node = 1;

		for (uint32_t step = 0; step < depth; step++) {
			tree[node].fresh++;
			node = 2 * node + (row[tree[node].dimension] >= tree[node].cut);
		}
		tree[node].fresh++;
	}
	if (++t->learned < t->settings.window)
		return;
	for (size_t i = 0, many = lm_branches(&t->settings); i < many; i++) {
		t->branches[i].usual = t->branches[i].fresh;
		t->branches[i].fresh = 0;
	}
	t->learned = 0;
	t->windows++;
}

void lm_trees_score(struct lm_trees *t, size_t n, const float *rows, const uint8_t *learn, float *out)
{
	const struct lm_trees_settings *s = &t->settings;
	double most = log2((double)s->trees * s->window) + s->depth;

	for (size_t i = 0; i < n; i++) {
		const float *row = rows + i * s->dimensions;
		double mass = 0.0;

		for (uint32_t k = 0; t->windows && k < s->trees; k++)
			mass += lm_mass(t, t->branches + ((size_t)k << (s->depth + 1)), row);
		out[i] = t->windows ? (float)(most - log2(mass + 1.0)) : 0.0f;
		if (!learn || learn[i])
			lm_learn(t, row);
	}
}

void lm_trees_save(const struct lm_trees *t, uint8_t *to)
{
	memcpy(to, t, lm_trees_size(t));
}

/* The cuts follow from the settings; those of the saved one are taken only where they are the same. */
int lm_trees_load(struct lm_trees *t, const uint8_t *from, size_t size)
{
	const uint8_t *at = from + sizeof(*t);

	if (size != lm_trees_size(t) || memcmp(from, t, offsetof(struct lm_trees, learned)))
		return -1;
	for (size_t i = 0, many = lm_branches(&t->settings); i < many; i++, at += sizeof(struct lm_branch))
		if (memcmp(at, &t->branches[i], offsetof(struct lm_branch, usual)))
			return -1;
	memcpy(t, from, size);
	return 0;
}
