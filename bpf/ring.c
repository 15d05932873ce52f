// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Reads a BPF ring buffer that is mapped into this process. Called by src/loomidi/loom/capture/xdp/rings.py. In: the
 * three mapped parts. Out: copies of the records, packed one after the other. One reader at a time.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <loomidi/wire.h>

#include "meter.h"

#define LM_RING_BUSY (1U << 31)
#define LM_RING_DISCARD (1U << 30)
#define LM_RING_HEADER 8U

LM_API int64_t lm_ring_read(uint64_t *consumer, const uint64_t *producer, const uint8_t *data, uint64_t size,
			    uint32_t record, uint8_t *out, uint32_t room);
LM_API void lm_set_bits(uint32_t *word, uint32_t bits);
LM_API int lm_meter_absorb_records(struct lm_meter *m, const struct lm_record *records, uint32_t n, int64_t offset_ns);

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

/* lm_meter_absorb for records as the kernel's flow tables and its ring hold them. 0 or -errno. */
int lm_meter_absorb_records(struct lm_meter *m, const struct lm_record *records, uint32_t n, int64_t offset_ns)
{
	for (uint32_t i = 0; i < n; i++) {
		int status =
			lm_meter_absorb(m, &records[i].key, &records[i].flow, 1, 1, sizeof(struct lm_flow), offset_ns);

		if (status)
			return status;
	}
	return 0;
}
