/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The octets of a capture, from a file or a pipe, gzip or not, in one window; see window.h. Called by capture.c and
 * pcapng.c. What the octets mean is left to them.
 */
#include "window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

ssize_t lm_read(struct lm_capture *c, void *to, size_t n)
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

void lm_fail(struct lm_capture *c, const char *what)
{
	snprintf(c->problem, sizeof(c->problem), "%s", what);
}

int lm_start_gzip(struct lm_capture *c)
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

void lm_fill(struct lm_capture *c)
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

uint64_t lm_skip(struct lm_capture *c, uint64_t n)
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

int lm_damaged(struct lm_capture *c, const char *what, uint64_t value)
{
	snprintf(c->problem, sizeof(c->problem),
		 "damaged after packet %llu, at octet %llu: %s %llu; packets before it are reported, "
		 "capture again or mend the file with pcapfix",
		 (unsigned long long)c->packets, (unsigned long long)c->taken, what, (unsigned long long)value);
	return -1;
}

int lm_cut_off(struct lm_capture *c, uint64_t there, uint64_t wanted)
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

/* The end of the input where a record may end: a problem only when reading itself failed. */
int lm_finished(struct lm_capture *c)
{
	return c->problem[0] || c->read_errno ? lm_cut_off(c, 0, 1) : 0;
}
