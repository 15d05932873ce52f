/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The last frames of a link, cut to their first octets, so that a finding can be kept with its packets. Filled by
 * meter.c, read from another thread by src/loomidi/loom/capture/meters.py. Fixed room; the oldest are overwritten.
 */
#ifndef LOOMIDI_RECENT_H
#define LOOMIDI_RECENT_H

#include <stdint.h>

#include "capture.h"
#include "meter.h"

#define LM_RECENT_OCTETS 128 /* headers up to two VLANs, IPv6 and TCP with all options */

struct lm_recent_frame {
	uint64_t at_ns;
	uint32_t wire;
	uint16_t captured;
	uint16_t link; /* LINKTYPE_ */
	uint8_t octets[LM_RECENT_OCTETS];
};

struct lm_recent;

void lm_recent_close(struct lm_recent *r);
void lm_recent_add(struct lm_recent *r, const struct lm_frame *frame);

/* Before the first source is read: keep the last `slots` frames of interfaces. 0, or -1 when memory is out. */
LM_API int lm_meter_keep_recent(struct lm_meter *m, uint32_t slots);
/* Copies up to `room` of the last frames, the oldest first; returns how many. From any thread while the meter is open. */
LM_API uint32_t lm_meter_recent(struct lm_meter *m, struct lm_recent_frame *out, uint32_t room);

#endif
