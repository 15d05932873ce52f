// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * See recent.h. One writer, the thread that meters; a reader takes the lock for as long as it copies, which at 8,192
 * frames is about a quarter of a millisecond: the socket's ring holds what comes meanwhile.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "recent.h"

struct lm_recent {
	pthread_mutex_t lock;
	uint64_t seen;
	uint32_t slots;
	struct lm_recent_frame frames[];
};

int lm_meter_keep_recent(struct lm_meter *m, uint32_t slots)
{
	struct lm_recent *r;

	if (m->recent || !slots)
		return 0;
	r = calloc(1, sizeof(*r) + (size_t)slots * sizeof(r->frames[0]));
	if (!r || pthread_mutex_init(&r->lock, NULL)) {
		free(r);
		return -1;
	}
	r->slots = slots;
	m->recent = r;
	return 0;
}

void lm_recent_close(struct lm_recent *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void lm_recent_add(struct lm_recent *r, const struct lm_frame *frame)
{
	struct lm_recent_frame *slot;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	slot = &r->frames[r->seen++ % r->slots];
	slot->at_ns = frame->at_ns;
	slot->wire = frame->wire;
	slot->link = (uint16_t)frame->link;
	slot->captured = (uint16_t)(frame->captured < LM_RECENT_OCTETS ? frame->captured : LM_RECENT_OCTETS);
	memcpy(slot->octets, frame->at, slot->captured);
	pthread_mutex_unlock(&r->lock);
}

uint32_t lm_meter_recent(struct lm_meter *m, struct lm_recent_frame *out, uint32_t room)
{
	struct lm_recent *r = m->recent;
	uint64_t from;
	uint32_t count;

	if (!r)
		return 0;
	pthread_mutex_lock(&r->lock);
	count = r->seen < r->slots ? (uint32_t)r->seen : r->slots;
	count = count < room ? count : room;
	from = r->seen - count;
	for (uint32_t i = 0; i < count; i++)
		out[i] = r->frames[(from + i) % r->slots];
	pthread_mutex_unlock(&r->lock);
	return count;
}
