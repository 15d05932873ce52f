/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Ended flows to one Arrow batch. The order and types are those of FLOWS in src/loomidi/contracts/schemas.py, meaning
 * and rounding those of docs/flow-features.md. Called by export.c. A row is written by lm_row, in the order of
 * the table lm_fields; the buffers go to the consumer, which releases them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "fields.h"
#include "meter.h"
#include "table.h"

/* ---- columns under construction ---- */

struct lm_column {
	uint8_t *valid;	  /* bitmap, only of nullable fields */
	int32_t *offsets; /* only of text and lists */
	uint8_t *values;
	uint32_t used; /* octets of text, items of lists */
	uint32_t nulls;
};

struct lm_rows {
	struct lm_column columns[LM_FIELDS];
	uint32_t row;
	uint32_t at; /* the column that the next value goes to */
};

static void lm_rows_free(struct lm_rows *r)
{
	for (size_t i = 0; i < LM_FIELDS; i++) {
		free(r->columns[i].valid);
		free(r->columns[i].offsets);
		free(r->columns[i].values);
	}
	free(r);
}

static struct lm_rows *lm_rows_new(uint32_t rows)
{
	struct lm_rows *r = calloc(1, sizeof(*r));
	int ok = r != NULL;

	for (size_t i = 0; ok && i < LM_FIELDS; i++) {
		const struct lm_field *f = &lm_fields[i];
		struct lm_column *c = &r->columns[i];
		size_t most = (size_t)rows * f->octets * (lm_is_list(f) ? LM_SPLT : 1);

		c->values = malloc(most ? most : 1);
		ok = c->values != NULL;
		if (f->nullable) {
			c->valid = malloc(rows / 8 + 1);
			ok = ok && c->valid;
			if (c->valid)
				memset(c->valid, 0xff, rows / 8 + 1);
		}
		if (lm_is_list(f) || lm_is_text(f)) {
			c->offsets = malloc((rows + 1) * sizeof(int32_t));
			ok = ok && c->offsets;
			if (c->offsets)
				c->offsets[0] = 0;
		}
	}
	if (ok)
		return r;
	if (r)
		lm_rows_free(r);
	return NULL;
}

static void lm_put(struct lm_rows *r, uint64_t value)
{
	struct lm_column *c = &r->columns[r->at];

	switch (lm_fields[r->at].octets) {
	case 1:
		c->values[r->row] = (uint8_t)value;
		break;
	case 2:
		((uint16_t *)c->values)[r->row] = (uint16_t)value;
		break;
	case 4:
		((uint32_t *)c->values)[r->row] = (uint32_t)value;
		break;
	default:
		((uint64_t *)c->values)[r->row] = value;
	}
	r->at++;
}

static void lm_put_f64(struct lm_rows *r, double value)
{
	((double *)r->columns[r->at++].values)[r->row] = value;
}

static void lm_put_null(struct lm_rows *r)
{
	struct lm_column *c = &r->columns[r->at];

	c->valid[r->row / 8] &= (uint8_t) ~(1U << r->row % 8);
	c->nulls++;
	if (c->offsets) {
		c->offsets[r->row + 1] = (int32_t)c->used;
		r->at++;
	} else {
		lm_put(r, 0);
	}
}

static void lm_put_text(struct lm_rows *r, const char *text, uint32_t octets)
{
	struct lm_column *c = &r->columns[r->at++];

	memcpy(c->values + c->used, text, octets);
	c->used += octets;
	c->offsets[r->row + 1] = (int32_t)c->used;
}

/* ---- text of addresses ---- */

static char *lm_decimal(char *to, unsigned int v)
{
	if (v >= 100)
		*to++ = (char)('0' + v / 100);
	if (v >= 10)
		*to++ = (char)('0' + v / 10 % 10);
	*to++ = (char)('0' + v % 10);
	return to;
}

static char *lm_hexadecimal(char *to, unsigned int v)
{
	static const char digits[] = "0123456789abcdef";

	for (int shift = 12; shift >= 0; shift -= 4)
		if (v >> shift || !shift)
			*to++ = digits[v >> shift & 15];
	return to;
}

/* The longest run of zero groups, at least two, the first of equals (RFC 5952 section 4.2). */
static void lm_zero_run(const uint8_t *a, int *from, int *groups)
{
	*from = -1;
	*groups = 1;
	for (int i = 0; i < 8; i++) {
		int n = 0;

		while (i + n < 8 && !a[2 * (i + n)] && !a[2 * (i + n) + 1])
			n++;
		if (n > *groups) {
			*from = i;
			*groups = n;
		}
		i += n;
	}
}

/* RFC 5952. Returns the length; `to` has room for LM_ADDRESS_TEXT. */
static uint32_t lm_address_text(const struct lm_addr *address, int ip_version, char *to)
{
	const uint8_t *a = (const uint8_t *)address;
	char *start = to;
	int from, groups;

	if (ip_version == 4) {
		for (int i = 12; i < 16; i++) {
			to = lm_decimal(to, a[i]);
			*to++ = '.';
		}
		return (uint32_t)(to - start - 1);
	}
	lm_zero_run(a, &from, &groups);
	for (int i = 0; i < 8; i++) {
		if (i == from) {
			*to++ = ':';
			if (!i)
				*to++ = ':';
			i += groups - 1;
			continue;
		}
		to = lm_hexadecimal(to, (unsigned int)a[2 * i] << 8 | a[2 * i + 1]);
		if (i < 7)
			*to++ = ':';
	}
	return (uint32_t)(to - start);
}

/* ---- statistics ---- */

/* Sample deviation from exact sums: sqrt((n * squares - sum^2) / (n * (n - 1))). 0 below two values. */
static double lm_deviation(const struct lm_stat *s)
{
	unsigned __int128 squares = (unsigned __int128)s->square_hi << 64 | s->square_lo;
	unsigned __int128 scaled, square = (unsigned __int128)s->sum * s->sum;
	long double above;

	if (s->count < 2)
		return 0;
	if (__builtin_mul_overflow(squares, (unsigned __int128)s->count, &scaled))
		above = (long double)squares * s->count - (long double)square;
	else
		above = scaled > square ? (long double)(scaled - square) : 0;
	if (above <= 0)
		return 0;
	return (double)__builtin_sqrtl(above / s->count / (s->count - 1));
}

static void lm_put_stat(struct lm_rows *r, const struct lm_stat *s)
{
	if (!s->count) {
		for (int i = 0; i < 4; i++)
			lm_put_null(r);
		return;
	}
	lm_put(r, s->min);
	lm_put_f64(r, (double)((long double)s->sum / s->count));
	lm_put_f64(r, lm_deviation(s));
	lm_put(r, s->max);
}

static struct lm_stat lm_sizes(const struct lm_side *side)
{
	return (struct lm_stat){
		.count = side->packets,
		.sum = side->octets,
		.square_lo = side->size_square,
		.min = side->size_min,
		.max = side->size_max,
	};
}

/* ---- rows ---- */

static void lm_put_side(struct lm_rows *r, const struct lm_side *side)
{
	struct lm_stat sizes = lm_sizes(side);

	lm_put(r, side->packets);
	lm_put(r, side->octets);
	lm_put(r, side->wire_octets);
	lm_put(r, side->payload_octets);
	lm_put(r, side->header_octets);
	for (int i = 0; i < 8; i++)
		lm_put(r, side->flags[i]);
	if (side->window_seen)
		lm_put(r, side->window);
	else
		lm_put_null(r);
	lm_put_stat(r, &sizes);
	lm_put_stat(r, &side->gap);
	lm_put(r, side->reordered);
	lm_put(r, side->fragments);
}

/* One list of the first packets; `octets` is the size of an item. */
static void lm_put_splt(struct lm_rows *r, const struct lm_flow *f)
{
	struct lm_column *direction = &r->columns[r->at], *size = direction + 1, *gap = direction + 2;

	for (uint32_t i = 0; i < f->splt_count; i++) {
		direction->values[direction->used + i] = f->splt_direction >> i & 1;
		((uint16_t *)size->values)[size->used + i] = f->splt_size[i];
		((uint64_t *)gap->values)[gap->used + i] = f->splt_gap_ns[i];
	}
	for (int i = 0; i < 3; i++) {
		struct lm_column *c = &r->columns[r->at++];

		c->used += f->splt_count;
		c->offsets[r->row + 1] = (int32_t)c->used;
	}
}

/* The packets of both directions, the open activity period closed at the last packet, and the rates. */
static void lm_put_both(struct lm_rows *r, const struct lm_flow *f)
{
	struct lm_stat sizes = lm_sizes(&f->side[0]), other = lm_sizes(&f->side[1]), active = f->active;
	uint64_t duration = f->last_ns - f->first_ns;

	lm_stat_merge(&sizes, &other);
	if (f->last_ns >= f->active_from_ns)
		lm_stat_add(&active, f->last_ns - f->active_from_ns);
	lm_put_stat(r, &sizes);
	lm_put_stat(r, &f->gap);
	lm_put_stat(r, &active);
	lm_put_stat(r, &f->idle);
	if (duration) {
		lm_put_f64(r, (double)sizes.count * 1e9 / (double)duration);
		lm_put_f64(r, (double)sizes.sum * 1e9 / (double)duration);
	} else {
		lm_put_null(r);
		lm_put_null(r);
	}
}

static void lm_put_key(struct lm_rows *r, const struct lm_entry *e)
{
	static const char *const tunnels[] = {"", "vxlan", "geneve"};
	const struct lm_key *k = &e->key;
	const struct lm_flow *f = &e->flow;
	int high = f->initiator_is_high, icmp = k->protocol == LM_ICMP || k->protocol == LM_ICMPV6;
	char text[LM_ADDRESS_TEXT + 8];

	lm_put(r, k->ip_version);
	lm_put(r, k->protocol);
	lm_put_text(r, text, lm_address_text(high ? &k->high : &k->low, k->ip_version, text));
	lm_put_text(r, text, lm_address_text(high ? &k->low : &k->high, k->ip_version, text));
	lm_put(r, icmp ? 0 : high ? k->high_port : k->low_port);
	lm_put(r, icmp ? 0 : high ? k->low_port : k->high_port);
	if (icmp && k->low_port) { /* 0: a later fragment, which has neither */
		lm_put(r, f->icmp_type);
		lm_put(r, f->icmp_code);
	} else {
		lm_put_null(r);
		lm_put_null(r);
	}
	lm_put(r, k->vlan);
	lm_put(r, k->vlan_inner);
	if (k->tunnel) {
		lm_put_text(r, tunnels[k->tunnel], (uint32_t)strlen(tunnels[k->tunnel]));
		lm_put(r, k->tunnel_id);
	} else {
		lm_put_null(r);
		lm_put_null(r);
	}
}

static void lm_row(struct lm_rows *r, const struct lm_entry *e)
{
	static const char *const reasons[] = {"none", "idle", "active", "fin", "forced", "evicted", "rst"};
	const struct lm_flow *f = &e->flow;
	const char *reason = reasons[f->end];

	r->at = 0;
	lm_put(r, lm_mix(lm_hash_key(&e->key, 0), f->first_ns ^ 0x9e3779b97f4a7c15U));
	lm_put(r, f->first_ns);
	lm_put(r, f->last_ns);
	lm_put(r, f->last_ns - f->first_ns);
	lm_put_text(r, reason, (uint32_t)strlen(reason));
	lm_put_key(r, e);
	lm_put_side(r, &f->side[0]);
	lm_put_side(r, &f->side[1]);
	lm_put_both(r, f);
	lm_put_splt(r, f);
	r->row++;
}

/* ---- batches ---- */

static void lm_array_release(struct ArrowArray *a)
{
	for (int64_t i = 0; i < a->n_children; i++) {
		if (a->children[i]->release)
			a->children[i]->release(a->children[i]);
		free(a->children[i]);
	}
	for (int64_t i = 0; i < a->n_buffers; i++)
		free((void *)a->buffers[i]);
	free(a->children);
	free(a->buffers);
	a->release = NULL;
}

static int lm_array_init(struct ArrowArray *a, int64_t length, int64_t buffers, int64_t children)
{
	*a = (struct ArrowArray){.length = length, .release = lm_array_release};
	a->buffers = calloc((size_t)buffers, sizeof(void *));
	if (!a->buffers)
		return ENOMEM;
	a->n_buffers = buffers;
	if (!children)
		return 0;
	a->children = calloc((size_t)children, sizeof(struct ArrowArray *));
	for (int64_t i = 0; a->children && i < children; i++) {
		a->children[i] = calloc(1, sizeof(struct ArrowArray));
		if (!a->children[i])
			return ENOMEM;
		a->n_children++;
	}
	return a->children ? 0 : ENOMEM;
}

/* Hands the buffers of a column to the array; the column forgets them. */
static int lm_column_finish(struct lm_column *c, const struct lm_field *f, uint32_t rows, struct ArrowArray *a)
{
	int64_t buffers = lm_is_text(f) ? 3 : 2, value = lm_is_text(f) ? 2 : 1;
	int status = lm_array_init(a, rows, buffers, lm_is_list(f) ? 1 : 0);

	if (!status && lm_is_list(f))
		status = lm_array_init(a->children[0], c->used, 2, 0);
	if (status)
		return status;
	a->null_count = c->nulls;
	a->buffers[0] = c->valid;
	if (c->offsets)
		a->buffers[1] = c->offsets;
	if (lm_is_list(f))
		a->children[0]->buffers[1] = c->values;
	else
		a->buffers[value] = c->values;
	memset(c, 0, sizeof(*c));
	return 0;
}

int lm_columns_batch(const struct lm_table *t, uint32_t rows, struct ArrowArray *out)
{
	struct lm_rows *r = lm_rows_new(rows);
	int status;

	if (!r)
		return ENOMEM;
	for (uint32_t i = 0; i < rows; i++)
		lm_row(r, lm_table_ended(t, i));
	status = lm_array_init(out, rows, 1, LM_FIELDS);
	for (size_t i = 0; !status && i < LM_FIELDS; i++)
		status = lm_column_finish(&r->columns[i], &lm_fields[i], rows, out->children[i]);
	if (status && out->release)
		out->release(out);
	lm_rows_free(r);
	return status;
}
