/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the files of the capture reader share: its state, the window of octets that are in memory, and the problems it
 * can have. window.c fills it, capture.c reads pcap from it and pcapng.c pcapng. Nobody else includes this.
 */
#ifndef LOOMIDI_WINDOW_H
#define LOOMIDI_WINDOW_H

#include <string.h>
#include <sys/types.h>
#include <zlib.h>

#include "capture.h"

#ifndef LM_WINDOW
#define LM_WINDOW (128U << 10) /* octets kept in memory; fits a second-level cache beside the flows */
#define LM_LOOK (80U << 10)    /* of a frame or block at most this much is looked at, the rest is skipped */
#define LM_RAW (64U << 10)     /* compressed octets read at once */
#endif
#define LM_INCREDIBLE (256U << 20) /* no frame or block is larger: the length field is damaged */
#define LM_NS 1000000000ULL

enum lm_form {
	LM_FORM_UNKNOWN = 0,
	LM_FORM_PCAP,
	LM_FORM_PCAPNG,
};

struct lm_interface {
	uint64_t units; /* per second; 0: 2^shift of them */
	int64_t offset_s;
	uint32_t shift;
	uint32_t link;
	uint32_t snap;
};

struct lm_capture {
	int fd;
	int gzip; /* -1: not known yet */
	int done; /* the descriptor has no more */
	int swap; /* byte order of the file (or section) is not ours */
	enum lm_form form;
	uint8_t *window;
	size_t from, to;
	uint8_t *raw;
	z_stream z;
	int z_open;
	int z_ended; /* a member ended and no other began */
	int read_errno;
	uint64_t raw_read;
	uint64_t taken;	  /* octets of the (uncompressed) stream before `from` */
	uint64_t pending; /* octets to step over before the next record */
	uint64_t packets;
	uint64_t last_ns;
	/* pcap */
	uint32_t link;
	uint32_t snap;
	uint32_t record; /* octets of a record header */
	uint64_t fraction_ns;
	/* pcapng */
	struct lm_interface *interfaces;
	uint32_t interface_count;
	uint32_t interface_room;
	char problem[256];
};

static inline uint16_t lm_u16(const struct lm_capture *c, const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return c->swap ? __builtin_bswap16(v) : v;
}

static inline uint32_t lm_u32(const struct lm_capture *c, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return c->swap ? __builtin_bswap32(v) : v;
}

static inline uint64_t lm_u64(const struct lm_capture *c, const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return c->swap ? __builtin_bswap64(v) : v;
}

/* window.c: up to n octets of the descriptor, below 1 at its end; more octets behind window[to]. */
ssize_t lm_read(struct lm_capture *c, void *to, size_t n);
void lm_fill(struct lm_capture *c);

/* What was read so far is gzip: from here on the window holds what it unpacks to. 0 or -1. */
int lm_start_gzip(struct lm_capture *c);

/* Steps over n octets, however many. Returns how many were there. */
uint64_t lm_skip(struct lm_capture *c, uint64_t n);

/* Problems, told with the place. All but lm_fail return -1; lm_finished only when reading itself failed, else 0. */
void lm_fail(struct lm_capture *c, const char *what);
int lm_damaged(struct lm_capture *c, const char *what, uint64_t value);
int lm_cut_off(struct lm_capture *c, uint64_t there, uint64_t wanted);
int lm_finished(struct lm_capture *c);

/* pcapng.c: the block at the window's start begins a section; the next frame, as lm_capture_next. */
int lm_start_section(struct lm_capture *c);
int lm_next_pcapng(struct lm_capture *c, struct lm_frame *f);

/* How many of n octets (at most LM_WINDOW) are there, at window + from. */
static inline size_t lm_need(struct lm_capture *c, size_t n)
{
	while (c->to - c->from < n) {
		size_t had = c->to - c->from;

		lm_fill(c);
		if (c->to - c->from == had)
			return had;
	}
	return n;
}

static inline void lm_take(struct lm_capture *c, size_t n)
{
	c->from += n;
	c->taken += n;
}

/* Steps over what the last record had beyond what was looked at. */
static inline int lm_catch_up(struct lm_capture *c)
{
	uint64_t wanted = c->pending, got = wanted ? lm_skip(c, wanted) : 0;

	c->pending = 0;
	return got < wanted ? lm_cut_off(c, got, wanted) : 0;
}

#endif
