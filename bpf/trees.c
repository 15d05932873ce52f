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
#define LM_ABREAST 16
#define LM_ROWS 1024

struct lm_branch {
	float cut;
	uint32_t dimension;
	uint32_t usual; /* rows of the last full window */
	uint32_t fresh; /* rows of this one; above the leaves it is their sum, made when it is needed */
};

struct lm_cut {
	float at;
	uint32_t dimension;
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

/* Behind the branches and in no snapshot, for they follow from those: the mass of each node's place, and the cuts of the
 * nodes above the leaves, close together since every row passes a dozen of them in every tree. */
static double *lm_masses(const struct lm_trees *t)
{
	return (double *)(t->branches + lm_branches(&t->settings));
}

static struct lm_cut *lm_cuts(const struct lm_trees *t)
{
	return (struct lm_cut *)(lm_masses(t) + lm_branches(&t->settings));
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
	t = calloc(1, sizeof(*t) + lm_branches(s) * (sizeof(struct lm_branch) + sizeof(double)) +
			      lm_branches(s) / 2 * sizeof(struct lm_cut));
	if (!t)
		return NULL;
	t->magic = LM_MAGIC;
	t->settings = *s;
	for (uint32_t k = 0; k < s->trees; k++)
		lm_grow(t->branches + ((size_t)k << (s->depth + 1)), s, &state);
	for (size_t i = 0, leaves = (size_t)1 << s->depth; i < lm_branches(s) / 2; i++) {
		const struct lm_branch *branch = &t->branches[(i / leaves << (s->depth + 1)) + i % leaves];

		lm_cuts(t)[i] = (struct lm_cut){branch->cut, branch->dimension};
	}
	return t;
}

void lm_trees_close(struct lm_trees *t)
{
	free(t);
}

/* Rows of this window that passed each node, from those that ended in the leaves. */
static void lm_sum(struct lm_trees *t)
{
	const struct lm_trees_settings *s = &t->settings;

	for (uint32_t k = 0; k < s->trees; k++)
		for (size_t node = ((size_t)1 << s->depth) - 1; node; node--) {
			struct lm_branch *tree = t->branches + ((size_t)k << (s->depth + 1));

			tree[node].fresh = tree[2 * node].fresh + tree[2 * node + 1].fresh;
		}
}

/* Mass of each place: rows that fell there, times how much smaller than everything it is. A place with few rows is not
 * looked into more closely, so those within it have its mass. */
static void lm_weigh(struct lm_trees *t)
{
	const struct lm_trees_settings *s = &t->settings;

	for (uint32_t k = 0; k < s->trees; k++) {
		size_t first = (size_t)k << (s->depth + 1);
		const struct lm_branch *tree = t->branches + first;
		double *mass = lm_masses(t) + first;

		for (size_t node = 1; node < (size_t)2 << s->depth; node++)
			mass[node] =
				node > 1 && tree[node / 2].usual < s->enough
					? mass[node / 2]
					: (double)tree[node].usual * (double)(1ULL << (63 - __builtin_clzll(node)));
	}
}

/* The window is full: what is fresh is what is usual. */
static void lm_turn(struct lm_trees *t)
{
	lm_sum(t);
	for (size_t i = 0, many = lm_branches(&t->settings); i < many; i++) {
		t->branches[i].usual = t->branches[i].fresh;
		t->branches[i].fresh = 0;
	}
	t->learned = 0;
	t->windows++;
	lm_weigh(t);
}

/* The leaves in which rows end. They go down side by side, since a step waits for the one before it. */
static void lm_walk(const struct lm_cut *cuts, uint32_t depth, const float *rows, uint32_t many, uint32_t *leaves)
{
	uint32_t node[LM_ABREAST];

	for (size_t j = 0; j < LM_ABREAST; j++)
		node[j] = 1;
	for (uint32_t step = 0; step < depth; step++)
		for (size_t j = 0; j < LM_ABREAST; j++) {
			struct lm_cut cut = cuts[node[j]];

			node[j] = 2 * node[j] + (rows[j * many + cut.dimension] >= cut.at);
		}
	memcpy(leaves, node, sizeof(node));
}

/* Rows between two turns, a few at a time: tree by tree, so that one tree and these rows stay in a core's cache. */
static void lm_some(struct lm_trees *t, size_t n, const float *rows, const uint8_t *learn, float *out)
{
	const struct lm_trees_settings *s = &t->settings;
	double most = log2((double)s->trees * s->window) + s->depth, sums[LM_ROWS] = {0};
	float last[LM_ABREAST * LM_MOST_DIMENSIONS] = {0};
	uint32_t leaves[LM_ABREAST];

	for (uint32_t k = 0; k < s->trees; k++) {
		struct lm_branch *tree = t->branches + ((size_t)k << (s->depth + 1));
		const double *mass = lm_masses(t) + ((size_t)k << (s->depth + 1));

		for (size_t at = 0; at < n; at += LM_ABREAST) {
			size_t abreast = n - at < LM_ABREAST ? n - at : LM_ABREAST;
			const float *some = rows + at * s->dimensions;

			if (abreast < LM_ABREAST)
				some = memcpy(last, some, abreast * s->dimensions * sizeof(float));
			lm_walk(lm_cuts(t) + ((size_t)k << s->depth), s->depth, some, s->dimensions, leaves);
			for (size_t j = 0; j < abreast; j++) {
				sums[at + j] += mass[leaves[j]];
				tree[leaves[j]].fresh += !learn || learn[at + j];
			}
		}
	}
	for (size_t i = 0; i < n; i++)
		out[i] = t->windows ? (float)(most - log2(sums[i] + 1.0)) : 0.0f;
}

void lm_trees_score(struct lm_trees *t, size_t n, const float *rows, const uint8_t *learn, float *out)
{
	for (size_t at = 0, some; at < n; at += some) {
		uint32_t learned = t->learned;

		for (some = 0; some < LM_ROWS && at + some < n && learned < t->settings.window; some++)
			learned += !learn || learn[at + some];
		lm_some(t, some, rows + at * t->settings.dimensions, learn ? learn + at : NULL, out + at);
		t->learned = learned;
		if (learned == t->settings.window)
			lm_turn(t);
	}
}

void lm_trees_save(struct lm_trees *t, uint8_t *to)
{
	lm_sum(t);
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
	lm_weigh(t);
	return 0;
}
