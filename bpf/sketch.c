/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A count sketch of edges, sources and destinations that scores each by how far this tick's count is from the usual one
 * (the method of MIDAS-F: chi-squared, what scores high is not merged into what is usual); see edges.h.
 */
#include "edges.h"

#include <stdlib.h>
#include <string.h>

#define LM_MAGIC 0x31484354454B5300ULL
#define LM_MOST_ROWS 8

enum { LM_EDGE, LM_SOURCE, LM_DESTINATION, LM_KINDS };

struct lm_cell {
	float current;
	float total;
	float score;
};

struct lm_sketch {
	uint64_t magic;
	struct lm_sketch_settings settings;
	uint64_t odd[LM_MOST_ROWS];
	uint64_t late;
	uint32_t tick;
	uint32_t pad;
	struct lm_cell cells[];
};

static size_t lm_cells(const struct lm_sketch_settings *s)
{
	return (size_t)LM_KINDS * s->rows * s->columns;
}

size_t lm_sketch_size(const struct lm_sketch *k)
{
	return sizeof(*k) + lm_cells(&k->settings) * sizeof(struct lm_cell);
}

struct lm_sketch *lm_sketch_open(const struct lm_sketch_settings *s)
{
	uint64_t state = s->seed;
	struct lm_sketch *k;

	if (!s->rows || s->rows > LM_MOST_ROWS || !s->columns || (s->columns & (s->columns - 1)))
		return NULL;
	k = calloc(1, sizeof(*k) + lm_cells(s) * sizeof(struct lm_cell));
	if (!k)
		return NULL;
	k->magic = LM_MAGIC;
	k->settings = *s;
	k->tick = 1;
	for (int row = 0; row < LM_MOST_ROWS; row++)
		k->odd[row] = lm_next64(&state) | 1;
	return k;
}

void lm_sketch_close(struct lm_sketch *k)
{
	free(k);
}

static void lm_merge(struct lm_sketch *k, uint32_t tick)
{
	float threshold = k->settings.threshold, factor = k->settings.factor;
	float usual = k->tick > 1 ? 1.0f / (float)(k->tick - 1) : 0.0f;

	for (size_t i = 0, many = lm_cells(&k->settings); i < many; i++) {
		struct lm_cell *c = &k->cells[i];

		c->total += c->score < threshold ? c->current : c->total * usual;
		c->current *= factor;
	}
	k->tick = tick;
}

/* (a - s/t)^2 t^2 / (s (t - 1)) of this tick's count a and the total s of t - 1 ticks before. */
static float lm_unusual(float a, float s, float t)
{
	float off = a + s - a * t;

	return s == 0.0f ? 0.0f : off * off / (s * (t - 1.0f));
}

static float lm_charge(struct lm_sketch *k, int kind, uint64_t key)
{
	uint32_t columns = k->settings.columns, rows = k->settings.rows;
	struct lm_cell *cell[LM_MOST_ROWS];
	float a = 0.0f, s = 0.0f, score;

	for (uint32_t row = 0; row < rows; row++) {
		uint32_t column = (uint32_t)(lm_mix64(key * k->odd[row]) & (columns - 1));
		struct lm_cell *c = &k->cells[((size_t)kind * rows + row) * columns + column];

		c->current += 1.0f;
		a = row && a < c->current ? a : c->current;
		s = row && s < c->total ? s : c->total;
		cell[row] = c;
	}
	score = lm_unusual(a, s, (float)k->tick);
	for (uint32_t row = 0; row < rows; row++)
		cell[row]->score = score;
	return score;
}

void lm_sketch_score(struct lm_sketch *k, size_t n, const uint32_t *ticks, const uint64_t *sources,
		     const uint64_t *destinations, float *out)
{
	for (size_t i = 0; i < n; i++) {
		float edge, source, destination;

		if (ticks[i] > k->tick)
			lm_merge(k, ticks[i]);
		else
			k->late += ticks[i] < k->tick;
		edge = lm_charge(k, LM_EDGE, lm_mix64(sources[i] + 0x9E3779B97F4A7C15ULL) + destinations[i]);
		source = lm_charge(k, LM_SOURCE, sources[i]);
		destination = lm_charge(k, LM_DESTINATION, destinations[i]);
		source = source > edge ? source : edge;
		out[i] = source > destination ? source : destination;
	}
}

void lm_sketch_save(const struct lm_sketch *k, uint8_t *to)
{
	memcpy(to, k, lm_sketch_size(k));
}

int lm_sketch_load(struct lm_sketch *k, const uint8_t *from, size_t size)
{
	if (size != lm_sketch_size(k) || memcmp(from, k, offsetof(struct lm_sketch, late)))
		return -1;
	memcpy(k, from, size);
	return 0;
}
