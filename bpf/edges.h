/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the anomaly detectors count in C, called by loomidi.origami.native through ctypes: causal features of edges
 * (edges.c), a count sketch of edges with conditional merge (sketch.c), half-space trees (trees.c). All memory is had at
 * opening, none after; a seed is given, never drawn. Each can be saved and loaded: a loaded one goes on bit for bit.
 * What is scored is scored before it is learned, except that an edge counts itself.
 */
#ifndef LOOMIDI_EDGES_H
#define LOOMIDI_EDGES_H

#include <stddef.h>
#include <stdint.h>

#define LM_EXPORT __attribute__((visibility("default")))
#define LM_EDGE_FEATURES 24
#define LM_EDGE_WINDOWS 3 /* 1 min, 10 min, 1 h */
#define LM_EDGE_SLOTS 10  /* of a window: it moves on by a tenth of its length */

struct lm_edges_settings {
	uint64_t horizon_ns; /* a gap is at most this long; so is that before the first */
	uint32_t max_pairs;
	uint32_t max_ends; /* of sources, and of destinations */
};

struct lm_edges_counts {
	uint64_t edges;
	uint64_t late; /* came with a time before that of one before: counted at the latest time */
	uint64_t forgotten_pairs;
	uint64_t forgotten_sources;
	uint64_t forgotten_destinations;
	uint32_t pairs;
	uint32_t sources;
	uint32_t destinations;
	uint32_t pad;
};

struct lm_edges;

/* NULL: no memory, or a setting is 0. */
LM_EXPORT struct lm_edges *lm_edges_open(const struct lm_edges_settings *s);
LM_EXPORT void lm_edges_close(struct lm_edges *e);
/* Column by column into out[LM_EDGE_FEATURES][n]. weights: how many edges a row stands for; NULL: one each. */
LM_EXPORT void lm_edges_feed(struct lm_edges *e, size_t n, const int64_t *times_ns, const uint64_t *sources,
			     const uint64_t *destinations, const uint32_t *weights, float *out);
LM_EXPORT void lm_edges_count(const struct lm_edges *e, struct lm_edges_counts *counts);
LM_EXPORT size_t lm_edges_size(const struct lm_edges *e);
LM_EXPORT void lm_edges_save(const struct lm_edges *e, uint8_t *to);
/* Into one that was opened with the same settings. 0, or -1 when it does not fit; then it is empty. */
LM_EXPORT int lm_edges_load(struct lm_edges *e, const uint8_t *from, size_t size);

/* A seeded 64-bit hash of each text of an Arrow utf8 column: its offsets (n + 1) and octets. */
LM_EXPORT void lm_hash_texts(size_t n, const int32_t *offsets, const uint8_t *octets, uint64_t seed, uint64_t *out);

struct lm_sketch_settings {
	uint64_t seed;
	uint32_t rows;
	uint32_t columns; /* a power of two */
	float threshold;  /* what scores as much is not merged into what is usual */
	float factor;	  /* what is left of the current counts after a tick */
};

struct lm_sketch;

LM_EXPORT struct lm_sketch *lm_sketch_open(const struct lm_sketch_settings *s);
LM_EXPORT void lm_sketch_close(struct lm_sketch *k);
/* ticks: from 1, not falling; a smaller one counts as the latest. */
LM_EXPORT void lm_sketch_score(struct lm_sketch *k, size_t n, const uint32_t *ticks, const uint64_t *sources,
			       const uint64_t *destinations, float *out);
LM_EXPORT size_t lm_sketch_size(const struct lm_sketch *k);
LM_EXPORT void lm_sketch_save(const struct lm_sketch *k, uint8_t *to);
LM_EXPORT int lm_sketch_load(struct lm_sketch *k, const uint8_t *from, size_t size);

struct lm_trees_settings {
	uint64_t seed;
	uint32_t trees;
	uint32_t depth;	     /* of a tree, up to 20 */
	uint32_t window;     /* rows after which what was learned becomes what is usual */
	uint32_t dimensions; /* of a row, values 0..1 */
	uint32_t enough;     /* a node with fewer rows ends the walk */
	uint32_t pad;
};

struct lm_trees;

LM_EXPORT struct lm_trees *lm_trees_open(const struct lm_trees_settings *s);
LM_EXPORT void lm_trees_close(struct lm_trees *t);
/* rows[n][dimensions]. learn: which rows are learned after they were scored; NULL: all. Scores in bits, high is rare. */
LM_EXPORT void lm_trees_score(struct lm_trees *t, size_t n, const float *rows, const uint8_t *learn, float *out);
LM_EXPORT size_t lm_trees_size(const struct lm_trees *t);
LM_EXPORT void lm_trees_save(struct lm_trees *t, uint8_t *to);
LM_EXPORT int lm_trees_load(struct lm_trees *t, const uint8_t *from, size_t size);

/* The finaliser of splitmix64. */
static inline uint64_t lm_mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xBF58476D1CE4E5B9ULL;
	x ^= x >> 27;
	x *= 0x94D049BB133111EBULL;
	return x ^ (x >> 31);
}

static inline uint64_t lm_next64(uint64_t *state)
{
	return lm_mix64(*state += 0x9E3779B97F4A7C15ULL);
}

#endif
