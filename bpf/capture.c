/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* See capture.h. */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#ifndef LM_WINDOW
#define LM_WINDOW (128U << 10) /* octets kept in memory; fits a second-level cache beside the flows */
#define LM_LOOK (80U << 10)    /* of a frame or block at most this much is looked at, the rest is skipped */
#define LM_RAW (64U << 10)     /* compressed octets read at once */
#endif
#define LM_INTERFACES (1U << 16)   /* of one pcapng section */
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

static uint16_t lm_u16(const struct lm_capture *c, const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return c->swap ? __builtin_bswap16(v) : v;
}

static uint32_t lm_u32(const struct lm_capture *c, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return c->swap ? __builtin_bswap32(v) : v;
}

static uint64_t lm_u64(const struct lm_capture *c, const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return c->swap ? __builtin_bswap64(v) : v;
}

static ssize_t lm_read(struct lm_capture *c, void *to, size_t n)
{
	ssize_t got;

	do
		got = read(c->fd, to, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		c->read_errno = errno;
	if (got <= 0)
		c->done = 1;
	else
		c->raw_read += (uint64_t)got;
	return got;
}

static void lm_fail(struct lm_capture *c, const char *what)
{
	snprintf(c->problem, sizeof(c->problem), "%s", what);
}

/* More of a gzip file into window[to..LM_WINDOW). Members may follow each other (RFC 1952). */
static void lm_inflate(struct lm_capture *c)
{
	size_t before = c->to;

	while (c->to == before && !c->problem[0]) {
		int status;

		if (!c->z.avail_in) {
			ssize_t got = c->done ? 0 : lm_read(c, c->raw, LM_RAW);

			if (got <= 0) {
				if (!c->z_ended)
					lm_fail(c, "the gzip stream ends too early");
				return;
			}
			c->z.next_in = c->raw;
			c->z.avail_in = (uInt)got;
		}
		if (c->z_ended) {
			if (c->z.next_in[0] != 0x1f)
				return; /* padding after the last member */
			inflateReset(&c->z);
			c->z_ended = 0;
		}
		c->z.next_out = c->window + c->to;
		c->z.avail_out = (uInt)(LM_WINDOW - c->to);
		status = inflate(&c->z, Z_NO_FLUSH);
		c->to = LM_WINDOW - c->z.avail_out;
		if (status == Z_STREAM_END)
			c->z_ended = 1;
		else if (status != Z_OK && status != Z_BUF_ERROR)
			lm_fail(c, "the gzip data is damaged");
	}
}

static void lm_fill(struct lm_capture *c)
{
	if (c->from) {
		memmove(c->window, c->window + c->from, c->to - c->from);
		c->to -= c->from;
		c->from = 0;
	}
	if (c->gzip) {
		lm_inflate(c);
	} else if (!c->done) {
		ssize_t got = lm_read(c, c->window + c->to, LM_WINDOW - c->to);

		if (got > 0)
			c->to += (size_t)got;
	}
}

/* How many of n octets (at most LM_WINDOW) are there, at window + from. */
static size_t lm_need(struct lm_capture *c, size_t n)
{
	while (c->to - c->from < n) {
		size_t had = c->to - c->from;

		lm_fill(c);
		if (c->to - c->from == had)
			return had;
	}
	return n;
}

static void lm_take(struct lm_capture *c, size_t n)
{
	c->from += n;
	c->taken += n;
}

/* Steps over n octets, however many. Returns how many were there. */
static uint64_t lm_skip(struct lm_capture *c, uint64_t n)
{
	uint64_t left = n;

	while (left) {
		size_t step = lm_need(c, left < LM_LOOK ? (size_t)left : LM_LOOK);

		if (!step)
			break;
		lm_take(c, step);
		left -= step;
	}
	return n - left;
}

static int lm_damaged(struct lm_capture *c, const char *what, uint64_t value)
{
	snprintf(c->problem, sizeof(c->problem),
		 "damaged after packet %llu, at octet %llu: %s %llu; packets before it are reported, "
		 "capture again or mend the file with pcapfix",
		 (unsigned long long)c->packets, (unsigned long long)c->taken, what, (unsigned long long)value);
	return -1;
}

static int lm_cut_off(struct lm_capture *c, uint64_t there, uint64_t wanted)
{
	char why[80];

	snprintf(why, sizeof(why), "%.79s", c->problem);
	if (c->read_errno)
		snprintf(why, sizeof(why), "reading failed: %s", strerror(c->read_errno));
	snprintf(c->problem, sizeof(c->problem),
		 "cut off after packet %llu, at octet %llu: %llu of %llu octets are there%s%s; "
		 "packets before it are reported, copy or capture it again",
		 (unsigned long long)c->packets, (unsigned long long)c->taken, (unsigned long long)there,
		 (unsigned long long)wanted, why[0] ? " - " : "", why);
	return -1;
}

/* Steps over what the last record had beyond what was looked at. */
static int lm_catch_up(struct lm_capture *c)
{
	uint64_t wanted = c->pending, got = wanted ? lm_skip(c, wanted) : 0;

	c->pending = 0;
	return got < wanted ? lm_cut_off(c, got, wanted) : 0;
}

/* The end of the input where a record may end: a problem only when reading itself failed. */
static int lm_finished(struct lm_capture *c)
{
	return c->problem[0] || c->read_errno ? lm_cut_off(c, 0, 1) : 0;
}

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

/* ---- pcapng ---- */

static int lm_start_section(struct lm_capture *c)
{
	size_t got = lm_need(c, 12);
	uint32_t order;

	if (got < 12)
		return lm_cut_off(c, got, 12);
	memcpy(&order, c->window + c->from + 8, 4);
	if (order != 0x1a2b3c4d && order != 0x4d3c2b1a)
		return lm_damaged(c, "a section of unknown byte order", order);
	c->swap = order != 0x1a2b3c4d;
	c->form = LM_FORM_PCAPNG;
	c->interface_count = 0;
	return 1;
}

/* if_tsresol (9) and if_tsoffset (14) of an interface block. */
static void lm_interface_options(struct lm_capture *c, struct lm_interface *to, const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 4) {
		uint32_t code = lm_u16(c, p), octets = lm_u16(c, p + 2), padded = (octets + 3) & ~3U;

		p += 4;
		if (!code || (size_t)(end - p) < padded)
			return;
		if (code == 9 && octets >= 1 && p[0] & 0x80) {
			to->units = 0;
			to->shift = p[0] & 0x7f;
		} else if (code == 9 && octets >= 1) {
			to->units = 1;
			for (uint32_t i = 0; i < p[0] && i < 19; i++)
				to->units *= 10;
		} else if (code == 14 && octets >= 8) {
			to->offset_s = (int64_t)lm_u64(c, p);
		}
		p += padded;
	}
}

static int lm_add_interface(struct lm_capture *c, const uint8_t *block, uint32_t total)
{
	struct lm_interface *to;

	if (c->interface_count == LM_INTERFACES)
		return lm_damaged(c, "more interfaces than", LM_INTERFACES);
	if (c->interface_count == c->interface_room) {
		uint32_t room = c->interface_room ? c->interface_room * 2 : 8;

		to = realloc(c->interfaces, room * sizeof(*to));
		if (!to)
			return lm_damaged(c, "no memory for interface", c->interface_count);
		c->interfaces = to;
		c->interface_room = room;
	}
	to = &c->interfaces[c->interface_count++];
	*to = (struct lm_interface){.units = 1000000, .link = lm_u16(c, block + 8), .snap = lm_u32(c, block + 12)};
	lm_interface_options(c, to, block + 16, block + total - 4);
	return 1;
}

/* Wraps where 64 bits of ns since the epoch end (year 2554), like every field of this unit. */
static uint64_t lm_interface_time(const struct lm_interface *of, uint64_t ticks)
{
	uint64_t ns;

	if (of->units == 1000000)
		ns = ticks * 1000;
	else if (of->units == LM_NS)
		ns = ticks;
	else if (of->units)
		ns = (uint64_t)((unsigned __int128)ticks * LM_NS / of->units);
	else if (of->shift < 64)
		ns = (uint64_t)((unsigned __int128)ticks * LM_NS >> of->shift);
	else
		ns = 0;
	return ns + (uint64_t)of->offset_s * LM_NS;
}

/* Where the packet of a block is and how long. `head` is what stands before it. 0: not a packet block. */
static uint32_t lm_packet_block(struct lm_capture *c, uint32_t type, const uint8_t *p, struct lm_frame *f,
				const struct lm_interface **on)
{
	uint32_t which, head = 28;
	uint64_t ticks;

	if (type == 3) { /* simple packet: interface 0, no time of its own */
		*on = c->interface_count ? &c->interfaces[0] : NULL;
		f->wire = lm_u32(c, p + 8);
		f->captured = *on && (*on)->snap && (*on)->snap < f->wire ? (*on)->snap : f->wire;
		f->at_ns = c->last_ns;
		return 12;
	}
	if (type != 6 && type != 2)
		return 0;
	which = type == 6 ? lm_u32(c, p + 8) : lm_u16(c, p + 8);
	*on = which < c->interface_count ? &c->interfaces[which] : NULL;
	ticks = (uint64_t)lm_u32(c, p + 12) << 32 | lm_u32(c, p + 16);
	f->captured = lm_u32(c, p + 20);
	f->wire = lm_u32(c, p + 24);
	if (*on)
		f->at_ns = lm_interface_time(*on, ticks);
	return head;
}

/* Handles the block of `total` octets at the window's start. 1: a frame, 2: something else, -1: a problem. */
static int lm_block(struct lm_capture *c, uint32_t type, uint32_t total, struct lm_frame *f)
{
	uint32_t look = total < LM_LOOK ? total : LM_LOOK, head;
	const struct lm_interface *on = NULL;
	size_t got = lm_need(c, look);
	const uint8_t *p = c->window + c->from;

	if (got < look)
		return lm_cut_off(c, got, total);
	if (type == 1)
		return total < 20 || total > LM_LOOK ? lm_damaged(c, "an interface block of octets:", total)
						     : (lm_add_interface(c, p, total) < 0 ? -1 : 2);
	if ((type == 6 || type == 2) && total < 32)
		return lm_damaged(c, "a packet block of octets:", total);
	if (type == 3 && total < 16)
		return lm_damaged(c, "a packet block of octets:", total);
	head = lm_packet_block(c, type, p, f, &on);
	if (!head)
		return 2;
	if (!on)
		return lm_damaged(c, "a packet of an interface that is not described, of", c->interface_count);
	if (f->captured > total - head - 4) {
		if (type != 3)
			return lm_damaged(c, "a packet longer than its block:", f->captured);
		f->captured = total - head - 4;
	}
	if (f->captured > look - head)
		f->captured = look - head;
	f->at = p + head;
	f->link = on->link;
	f->wire = f->wire > f->captured ? f->wire : f->captured;
	c->last_ns = f->at_ns;
	c->packets++;
	return 1;
}

static int lm_next_pcapng(struct lm_capture *c, struct lm_frame *f)
{
	for (;;) {
		size_t got = lm_need(c, 12);
		const uint8_t *p = c->window + c->from;
		uint32_t type, total, look;
		int status;

		if (!got)
			return lm_finished(c);
		if (got < 12)
			return lm_cut_off(c, got, 12);
		memcpy(&type, p, 4);
		if (type == 0x0a0d0d0a && lm_start_section(c) < 0)
			return -1;
		type = lm_u32(c, p);
		total = lm_u32(c, p + 4);
		if (total < 12 || total % 4 || total > LM_INCREDIBLE)
			return lm_damaged(c, "a block of octets:", total);
		status = lm_block(c, type, total, f);
		if (status < 0)
			return -1;
		look = total < LM_LOOK ? total : LM_LOOK;
		lm_take(c, look);
		c->pending = total - look;
		if (status == 1)
			return 1;
		if (lm_catch_up(c) < 0)
			return -1;
	}
}

/* ---- both ---- */

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

static int lm_start_gzip(struct lm_capture *c)
{
	c->raw = malloc(LM_RAW);
	if (!c->raw || inflateInit2(&c->z, 15 + 16) != Z_OK) {
		lm_fail(c, "no memory to decompress it");
		return -1;
	}
	c->z_open = 1;
	c->gzip = 1;
	/* What was read to know the form is the first compressed input. */
	c->z.avail_in = (uInt)(c->to - c->from < LM_RAW ? c->to - c->from : LM_RAW);
	memcpy(c->raw, c->window + c->from, c->z.avail_in);
	c->z.next_in = c->raw;
	c->from = c->to = 0;
	return 0;
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
