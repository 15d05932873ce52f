/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* See capture.h: which form a capture has, and the records of pcap. pcapng.c reads pcapng, window.c the octets. */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- pcap ---- */

static int lm_start_pcap(struct lm_capture *c)
{
	size_t got = lm_need(c, 24);
	const uint8_t *p = c->window + c->from;

	if (got < 24)
		return lm_cut_off(c, got, 24);
	c->snap = lm_u32(c, p + 16);
	c->link = lm_u32(c, p + 20) & 0xffff; /* the upper bits tell of checksums at the end of frames */
	c->form = LM_FORM_PCAP;
	lm_take(c, 24);
	return 1;
}

static int lm_next_pcap(struct lm_capture *c, struct lm_frame *f)
{
	size_t got = lm_need(c, c->record), look;
	uint32_t captured, wire;
	const uint8_t *p = c->window + c->from;

	if (!got)
		return lm_finished(c);
	if (got < c->record)
		return lm_cut_off(c, got, c->record);
	captured = lm_u32(c, p + 8);
	wire = lm_u32(c, p + 12);
	if (captured > LM_INCREDIBLE || (captured > 262144 && captured > c->snap))
		return lm_damaged(c, "a packet of octets:", captured);
	f->at_ns = lm_u32(c, p) * LM_NS + lm_u32(c, p + 4) * c->fraction_ns;
	look = captured < LM_LOOK ? captured : LM_LOOK;
	got = lm_need(c, c->record + look);
	if (got < c->record + look)
		return lm_cut_off(c, got, (uint64_t)c->record + captured);
	f->at = c->window + c->from + c->record;
	f->captured = (uint32_t)look;
	f->wire = wire > captured ? wire : captured;
	f->link = c->link;
	lm_take(c, c->record + look);
	c->pending = captured - look; /* later: stepping on moves the window under the frame */
	c->packets++;
	return 1;
}

/* ---- the form, opening and closing ---- */

static int lm_not_a_capture(struct lm_capture *c, const uint8_t *p, size_t got)
{
	static const struct {
		const char *magic, *name, *advice;
		size_t octets;
	} known[] = {
		{"\x28\xb5\x2f\xfd", "a Zstandard file", "decompress it first: unzstd", 4},
		{"\xfd\x37zX", "an xz file", "decompress it first: unxz", 4},
		{"BZh", "a bzip2 file", "decompress it first: bunzip2", 3},
		{"\x04\x22\x4d\x18", "an LZ4 file", "decompress it first: unlz4", 4},
		{"PK\x03\x04", "a zip archive", "unpack it first: unzip", 4},
		{"snoo", "a snoop capture", "convert it first: editcap -F pcap", 4},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (got < known[i].octets || memcmp(p, known[i].magic, known[i].octets))
			continue;
		snprintf(c->problem, sizeof(c->problem), "is %s; %s", known[i].name, known[i].advice);
		return -1;
	}
	snprintf(c->problem, sizeof(c->problem),
		 "is not a capture (it starts with %02x %02x %02x %02x); give a pcap or pcapng file, gzip or not", p[0],
		 got > 1 ? p[1] : 0, got > 2 ? p[2] : 0, got > 3 ? p[3] : 0);
	return -1;
}

static int lm_start(struct lm_capture *c)
{
	size_t got;
	uint8_t first[4] = {0};
	uint32_t magic;

	/* Read no more than fits the raw buffer: should it be gzip, it has to go through there. */
	while (c->to < 4 && !c->done) {
		ssize_t n = lm_read(c, c->window + c->to, LM_RAW - c->to);

		if (n > 0)
			c->to += (size_t)n;
	}
	if (c->read_errno) {
		snprintf(c->problem, sizeof(c->problem), "reading failed: %s", strerror(c->read_errno));
		return -1;
	}
	if (!c->to) {
		lm_fail(c, "is empty (0 octets); capture again, or wait until the capturing program has written");
		return -1;
	}
	c->gzip = 0;
	if (c->to >= 2 && c->window[0] == 0x1f && c->window[1] == 0x8b && lm_start_gzip(c))
		return -1;
	got = lm_need(c, 4);
	if (c->problem[0])
		return lm_cut_off(c, got, 4);
	memcpy(first, c->window + c->from, got);
	memcpy(&magic, first, 4);
	if (magic == 0x0a0d0d0a)
		return lm_start_section(c);
	c->record = 16;
	c->swap = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1 || magic == 0x34cdb2a1;
	magic = c->swap ? __builtin_bswap32(magic) : magic;
	if (got < 4 || (magic != 0xa1b2c3d4 && magic != 0xa1b23c4d && magic != 0xa1b2cd34))
		return lm_not_a_capture(c, first, got);
	c->fraction_ns = magic == 0xa1b23c4d ? 1 : 1000;
	if (magic == 0xa1b2cd34)
		c->record = 24;
	return lm_start_pcap(c);
}

struct lm_capture *lm_capture_open(int fd)
{
	struct lm_capture *c = calloc(1, sizeof(*c));

	if (c)
		c->window = malloc(LM_WINDOW);
	if (!c || !c->window) {
		free(c);
		close(fd);
		return NULL;
	}
	c->fd = fd;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return c;
}

void lm_capture_close(struct lm_capture *c)
{
	if (!c)
		return;
	if (c->z_open)
		inflateEnd(&c->z);
	close(c->fd);
	free(c->raw);
	free(c->interfaces);
	free(c->window);
	free(c);
}

int lm_capture_next(struct lm_capture *c, struct lm_frame *frame)
{
	if (c->form == LM_FORM_UNKNOWN) {
		int status = c->problem[0] ? -1 : lm_start(c);

		if (status < 0)
			return -1;
	}
	if (lm_catch_up(c) < 0)
		return -1;
	return c->form == LM_FORM_PCAP ? lm_next_pcap(c, frame) : lm_next_pcapng(c, frame);
}

const char *lm_capture_problem(const struct lm_capture *c)
{
	return c->problem;
}

uint64_t lm_capture_position(const struct lm_capture *c)
{
	return c->raw_read;
}
