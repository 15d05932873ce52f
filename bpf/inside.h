/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The inside of a meter, for its own files only: meter.c, absorb.c and export.c. */
#ifndef LOOMIDI_INSIDE_H
#define LOOMIDI_INSIDE_H

#include <stdatomic.h>

#include "meter.h"
#include "table.h"

struct lm_source {
	char *path;
	struct lm_tap *tap; /* set: an interface */
	uint64_t duration_ns;
};

struct lm_problem {
	uint32_t source;
	char text[320];
};

struct lm_meter {
	struct lm_meter_settings settings;
	struct lm_table table;
	struct lm_source *sources;
	uint32_t source_count;
	uint32_t source_at;
	struct lm_capture *capture; /* of sources[source_at] when it is being read */
	uint64_t capture_before;    /* octets of the captures before it */
	uint64_t deadline_ns;	    /* CLOCK_MONOTONIC, of the interface being read */
	struct lm_problem *problems;
	struct lm_meter_state state;
	atomic_int stop;
	int flushed;
	char error[64];
	struct lm_recent *recent; /* the last frames, headers first; NULL unless asked for */
};

/* The list that a flow belongs to. */
static inline enum lm_list lm_list_of(const struct lm_meter *m, const struct lm_flow *f)
{
	if (lm_flow_closed(f))
		return LM_LIST_CLOSING;
	return m->settings.unanswered_ns && (!f->side[0].packets || !f->side[1].packets) ? LM_LIST_UNANSWERED
											 : LM_LIST_OPEN;
}

/* meter.c: a new flow in the table, one that is there evicted for it if need be. LM_NO_ENTRY when memory is out. */
uint32_t lm_add_flow(struct lm_meter *m, const struct lm_key *key, uint32_t hash, uint64_t at_ns);

/* Reads on; whatever it was, the next call goes on from there. At the end of all sources the table is flushed. */
void lm_read_on(struct lm_meter *m);

#endif
