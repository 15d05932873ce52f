/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Reads captures: pcap (both byte orders, us and ns, Kuznetsov's variant) and pcapng (sections, interfaces, EPB, SPB and
 * the obsolete packet block), each also in gzip, from a file or a pipe. One buffer, no seeking. Called by meter.c.
 * Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
 */
#ifndef LOOMIDI_CAPTURE_H
#define LOOMIDI_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

struct lm_frame {
	const uint8_t *at; /* valid until the next call */
	uint32_t captured; /* octets at `at` */
	uint32_t wire;	   /* octets the frame had */
	uint32_t link;	   /* LINKTYPE_ */
	uint64_t at_ns;	   /* of the epoch */
};

struct lm_capture;

/* Takes over the descriptor. NULL when memory is out. */
struct lm_capture *lm_capture_open(int fd);
void lm_capture_close(struct lm_capture *c);

/* 1: a frame. 0: the end. -1: nothing further can be read, lm_capture_problem says why. */
int lm_capture_next(struct lm_capture *c, struct lm_frame *frame);

const char *lm_capture_problem(const struct lm_capture *c);

/* Octets read from the descriptor so far (compressed ones when it is gzip). */
uint64_t lm_capture_position(const struct lm_capture *c);

#endif
