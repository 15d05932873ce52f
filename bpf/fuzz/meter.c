/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fuzz target: any octets as a capture, through reader, meter and Arrow export. Beyond what the sanitizers see it holds
 * three claims: every packet is in one reason, the exported packets are the accounted ones, no octet is read twice.
 * With -DLM_REPLAY it is a program that replays files instead (gcc has no libFuzzer).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../meter.h"

enum { PACKETS = 17, REVERSE_PACKETS = 41 }; /* columns of FLOWS; checked against their names */

static void must(int holds, const char *claim)
{
	if (holds)
		return;
	fprintf(stderr, "claim broken: %s\n", claim);
	abort();
}

static void check_schema(struct ArrowArrayStream *stream)
{
	struct ArrowSchema schema;

	must(!stream->get_schema(stream, &schema), "the schema is there");
	must(!strcmp(schema.children[PACKETS]->name, "packet_delta_count"), "packets are where they were");
	must(!strcmp(schema.children[REVERSE_PACKETS]->name, "reverse_packet_delta_count"), "so are the reverse ones");
	schema.release(&schema);
}

/* Packets of all flows in a batch; touches every octet of every buffer of fixed width on the way. */
static uint64_t packets_of(const struct ArrowArray *batch)
{
	const uint64_t *forward = batch->children[PACKETS]->buffers[1],
		       *back = batch->children[REVERSE_PACKETS]->buffers[1];
	uint64_t sum = 0;

	for (int64_t i = 0; i < batch->length; i++)
		sum += forward[i] + back[i];
	return sum;
}

static void run(const char *path, size_t size)
{
	struct lm_meter_settings settings = {
		.flow = {60000000000ULL, 120000000000ULL, 5000000000ULL, 5000000000ULL},
		.seed = 1,
		.max_flows = 16 + (uint32_t)size % 64,
		.batch_rows = 1 + (uint32_t)size % 50,
		.inner = size % 3 != 0,
	};
	struct lm_meter *m = lm_meter_open(&settings);
	struct ArrowArrayStream stream;
	struct lm_meter_state state;
	uint64_t exported = 0;
	uint32_t source;

	must(m && !lm_meter_add_capture(m, path) && !lm_meter_stream(m, 1, &stream), "memory is there");
	check_schema(&stream);
	for (;;) {
		struct ArrowArray batch;

		must(!stream.get_next(&stream, &batch), "a batch can be made");
		if (!batch.release)
			break;
		exported += packets_of(&batch);
		batch.release(&batch);
	}
	stream.release(&stream);
	lm_meter_state(m, &state);
	must(exported == state.reasons[LM_ACCOUNTED].packets, "what is exported is what was accounted");
	must(!state.live && !state.ended, "nothing stays behind");
	must(state.bytes_read <= size, "no octet is read twice");
	must(state.problems < 2, "a source has one problem at most");
	if (state.problems)
		must(!strchr(lm_meter_problem(m, 0, &source), '\n'), "a problem is one line");
	lm_meter_close(m);
}

#ifdef LM_REPLAY

int main(int count, char **paths)
{
	for (int i = 1; i < count; i++) {
		FILE *file = fopen(paths[i], "rb");

		must(file && !fseek(file, 0, SEEK_END), "the file is there");
		run(paths[i], (size_t)ftell(file));
		fclose(file);
	}
	printf("%d replayed\n", count - 1);
	return 0;
}

#else

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
	char path[32];
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	if (write(fd, octets, size) == (ssize_t)size) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		run(path, size);
	}
	close(fd);
	return 0;
}

#endif
