/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The blocks of pcapng: sections, interfaces and the three kinds of packet. Called by capture.c through window.h.
 * Source: draft-ietf-opsawg-pcapng.
 */
#include "window.h"

#include <stdlib.h>

#define LM_INTERFACES (1U << 16) /* of one pcapng section */

int lm_start_section(struct lm_capture *c)
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

int lm_next_pcapng(struct lm_capture *c, struct lm_frame *f)
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
