/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The flow meter of user space: packets of captures and interfaces, or partial states drained from the kernel, in; flow
 * records through the Arrow C stream interface out. No globals; one meter is one table, used by one thread at a time.
 * Called through ctypes by src/loomidi/loom/capture/native.py. Every function but lm_meter_stop may be called only
 * by the thread that owns the meter.
 */
#ifndef LOOMIDI_METER_H
#define LOOMIDI_METER_H

#include <stddef.h>
#include <stdint.h>

#include <loomidi/wire.h>
#include "arrow.h"

#define LM_API __attribute__((visibility("default")))

struct lm_meter_settings {
	struct lm_settings flow;
	uint64_t seed;		/* of the hash; 0: random */
	uint32_t max_flows;	/* live at once; beyond it the one seen least recently is evicted */
	uint32_t batch_rows;	/* of one Arrow batch */
	uint32_t inner;		/* look inside VXLAN and Geneve */
	uint32_t ring;		/* octets of the socket's ring (interfaces); 0: LM_RING */
	uint64_t unanswered_ns; /* silence that ends a flow of which one side was never heard; 0: as the others */
	uint32_t snap;		/* octets kept of a frame (interfaces); headers must fit. 0: all */
	uint32_t breathe_ms;	/* an interface without ended flows gives an empty batch this often; 0: LM_WAIT_MS */
};

/* What lm_meter_state fills. */
struct lm_meter_state {
	struct lm_count reasons[LM_REASONS];
	uint64_t bytes_read; /* of the captures, as they are on disk */
	uint64_t first_ns;   /* of all packets; 0 before the first */
	uint64_t last_ns;
	uint64_t flows;	   /* exported so far */
	uint64_t evicted;  /* of these */
	uint64_t received; /* packets that the kernel counted for the socket (interfaces only) */
	uint64_t lost;	   /* of these: it could not hand them over */
	uint64_t twice;	   /* of these: seen on their way out of a loopback device, and again on their way in */
	uint32_t live;
	uint32_t ended;
	uint32_t problems;
	uint32_t source; /* index of the one being read */
};

struct lm_meter;

LM_API struct lm_meter *lm_meter_open(const struct lm_meter_settings *settings);
LM_API void lm_meter_close(struct lm_meter *m);

/* Queues a capture, read in the order given. "-" is standard input. 0, or -ENOMEM. */
LM_API int lm_meter_add_capture(struct lm_meter *m, const char *path);

/* Queues an interface, for `duration_ns` of wall time (0: until stopped). 0, or -errno of opening it. */
LM_API int lm_meter_add_interface(struct lm_meter *m, const char *name, uint64_t duration_ns);

/* Ends reading as if the input ended: what is in the table is still exported. Any thread, any signal handler. */
LM_API void lm_meter_stop(struct lm_meter *m);

/* One frame from memory. Returns the reason it was counted under (enum lm_reason). */
LM_API int lm_meter_frame(struct lm_meter *m, const uint8_t *frame, uint32_t captured, uint32_t wire, uint64_t at_ns,
			  uint32_t link);

/*
 * Merges per-CPU partial states of a kernel drain: n keys, for each `cpus` states of `stride` octets. Adds offset_ns to
 * their times. States without packets are skipped; a state with `end` set ends its flow. 0, or -ENOMEM.
 */
LM_API int lm_meter_absorb(struct lm_meter *m, const struct lm_key *keys, const void *values, uint32_t n, uint32_t cpus,
			   size_t stride, int64_t offset_ns);

/* Ends what is over by now: idle and closed flows. Needs no traffic. */
LM_API void lm_meter_tick(struct lm_meter *m, uint64_t now_ns);

/* Copies key and state of the flow seen least recently, as a drain would hand it over: for tests. 0, or -ENOENT. */
LM_API int lm_meter_peek(const struct lm_meter *m, struct lm_key *key, void *flow);

/* Ends all live flows as forced. */
LM_API void lm_meter_flush(struct lm_meter *m);

/*
 * Exports flows. With `all` the queued sources are read on as batches are asked for, and at their end the table is
 * flushed; without, what has ended already is exported and nothing is read. The stream does not own the meter.
 */
LM_API int lm_meter_stream(struct lm_meter *m, int all, struct ArrowArrayStream *out);

LM_API void lm_meter_state(const struct lm_meter *m, struct lm_meter_state *out);

/* The n-th problem: which source, and what. NULL beyond the last. */
LM_API const char *lm_meter_problem(const struct lm_meter *m, uint32_t n, uint32_t *source);

/* sizes of lm_key, lm_flow, lm_meter_settings, lm_meter_state: the loader compares them with its own. */
LM_API void lm_meter_sizes(uint32_t out[4]);

/* schema.c and columns.c: the schema, and the first `rows` ended flows as one batch. 0 or an errno. */
struct lm_table;
int lm_columns_schema(struct ArrowSchema *out);
int lm_columns_batch(const struct lm_table *t, uint32_t rows, struct ArrowArray *out);

/* interface.c: frames of an interface. */
struct lm_tap;
struct lm_frame;
/* `ring` and `snap` as in lm_meter_settings. */
int lm_tap_open(const char *name, uint32_t ring, uint32_t snap, struct lm_tap **out);
void lm_tap_close(struct lm_tap *r);
/* 1: a frame, 0: none within `wait_ms`, -errno. The frame is valid until the next call. */
int lm_tap_next(struct lm_tap *r, struct lm_frame *frame, int wait_ms);
/* From now on nothing new comes in: lm_tap_next gives what the ring still holds, then 0. */
void lm_tap_finish(struct lm_tap *r);
/* Adds what the kernel and the tap have counted since the last call to received, lost and twice. */
void lm_tap_count(struct lm_tap *r, struct lm_meter_state *state);

#endif
