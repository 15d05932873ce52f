// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Reads a BPF ring buffer that is mapped into this process. Called by src/loomidi/loom/capture/xdp/rings.py. In: the
 * three mapped parts. Out: copies of the records, packed one after the other. One reader at a time.
 */
#define _GNU_SOURCE /* qsort_r */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <loomidi/wire.h>

#include "meter.h"

#define LM_RING_BUSY (1U << 31)
#define LM_RING_DISCARD (1U << 30)
#define LM_RING_HEADER 8U

LM_API int64_t lm_ring_read(uint64_t *consumer, const uint64_t *producer, const uint8_t *data, uint64_t size,
			    uint32_t record, uint8_t *out, uint32_t room);
LM_API void lm_set_bits(uint32_t *word, uint32_t bits);
LM_API int lm_meter_absorb_records(struct lm_meter *m, const struct lm_record *records, uint32_t n, int64_t offset_ns,
				   int as_they_are);

/*
 * Copies up to `room` records of `record` octets each to out and frees them in the ring. Returns how many; records of
 * another length are freed and left out.
 */
int64_t lm_ring_read(uint64_t *consumer, const uint64_t *producer, const uint8_t *data, uint64_t size, uint32_t record,
		     uint8_t *out, uint32_t room)
{
	uint64_t at = __atomic_load_n(consumer, __ATOMIC_ACQUIRE);
	int64_t count = 0;

	while (count < room && at < __atomic_load_n(producer, __ATOMIC_ACQUIRE)) {
		const uint8_t *header = data + (at & (size - 1));
		uint32_t length = __atomic_load_n((const uint32_t *)(const void *)header, __ATOMIC_ACQUIRE);

		if (length & LM_RING_BUSY)
			break;
		if (!(length & LM_RING_DISCARD) && length == record) {
			memcpy(out + (size_t)count * record, header + LM_RING_HEADER, record);
			count++;
		}
		length &= ~LM_RING_DISCARD;
		at += (length + LM_RING_HEADER + 7U) & ~7ULL;
		__atomic_store_n(consumer, at, __ATOMIC_RELEASE);
	}
	return count;
}

/* The enabled bits of the control record are set by several processes. */
void lm_set_bits(uint32_t *word, uint32_t bits)
{
	__atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}

static int lm_by_last_sight(const void *a, const void *b, void *context)
{
	const struct lm_record *records = context;
	uint64_t x = records[*(const uint32_t *)a].flow.last_ns, y = records[*(const uint32_t *)b].flow.last_ns;

	return (x > y) - (x < y);
}

/*
 * lm_meter_absorb for records as the kernel's flow tables and its ring hold them: in order of last sight, in which the
 * meter's expiry expects them, unless `as_they_are` (the ring is in order of time already). 0 or -errno.
 */
int lm_meter_absorb_records(struct lm_meter *m, const struct lm_record *records, uint32_t n, int64_t offset_ns,
			    int as_they_are)
{
	uint32_t *order = malloc(n * sizeof(*order) + 1);
	int status = order ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && order; i++)
		order[i] = i;
	if (order && !as_they_are)
		qsort_r(order, n, sizeof(*order), lm_by_last_sight, (void *)(uintptr_t)records);
	for (uint32_t i = 0; i < n && !status; i++) {
		const struct lm_record *r = &records[order[i]];

		status = lm_meter_absorb(m, &r->key, &r->flow, 1, 1, sizeof(struct lm_flow), offset_ns);
	}
	free(order);
	return status;
}
