/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Ended flows as an Arrow stream, and what a meter tells of itself. Called through ctypes; asking for a batch reads on
 * in the sources (meter.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

struct lm_stream {
	struct lm_meter *meter;
	int all;
	char error[96];
};

static int lm_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
	(void)stream;
	return lm_columns_schema(out);
}

static int lm_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
	struct lm_stream *s = stream->private_data;
	struct lm_meter *m = s->meter;
	uint32_t rows;
	int status;

	if (s->all && !m->flushed && m->table.ended_count < m->settings.batch_rows)
		lm_read_on(m);
	rows = m->table.ended_count < m->settings.batch_rows ? m->table.ended_count : m->settings.batch_rows;
	if (!rows && (!s->all || m->flushed)) {
		memset(out, 0, sizeof(*out));
		return 0;
	}
	if (s->all && m->capture && rows < m->settings.batch_rows)
		rows = 0; /* not yet a full batch: an empty one lets the caller breathe */
	status = lm_columns_batch(&m->table, rows, out);
	if (status) {
		snprintf(s->error, sizeof(s->error), "no memory for a batch of %u flows", rows);
		return status;
	}
	lm_table_drop_ended(&m->table, rows);
	m->state.flows += rows;
	return 0;
}

static const char *lm_stream_error(struct ArrowArrayStream *stream)
{
	struct lm_stream *s = stream->private_data;

	return s->error[0] ? s->error : NULL;
}

static void lm_stream_release(struct ArrowArrayStream *stream)
{
	free(stream->private_data);
	stream->release = NULL;
}

int lm_meter_stream(struct lm_meter *m, int all, struct ArrowArrayStream *out)
{
	struct lm_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->meter = m;
	s->all = all;
	*out = (struct ArrowArrayStream){lm_stream_schema, lm_stream_next, lm_stream_error, lm_stream_release, s};
	return 0;
}

void lm_meter_state(const struct lm_meter *m, struct lm_meter_state *out)
{
	*out = m->state;
	out->live = m->table.live;
	out->ended = m->table.ended_count;
	out->source = m->source_at;
}

const char *lm_meter_problem(const struct lm_meter *m, uint32_t n, uint32_t *source)
{
	if (n >= m->state.problems)
		return NULL;
	*source = m->problems[n].source;
	return m->problems[n].text;
}

void lm_meter_sizes(uint32_t out[4])
{
	out[0] = sizeof(struct lm_key);
	out[1] = sizeof(struct lm_flow);
	out[2] = sizeof(struct lm_meter_settings);
	out[3] = sizeof(struct lm_meter_state);
}
