/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * See meter.h: packets of all sources to flows, and when flows end. Packets are taken in small groups, so that the cache
 * misses of their flows overlap. absorb.c takes drains of the kernel, export.c hands flows out.
 */
#include "meter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "capture.h"
#include "inside.h"
#include "linktype.h"
#include "recent.h"

#define LM_GROUP 16U		 /* packets whose flows are fetched together */
#define LM_BREATHE (32ULL << 20) /* octets read before an empty batch lets the caller look up */
#define LM_WAIT_MS 200		 /* the same for interfaces */
#define LM_TURN 4096U		 /* packets of an interface between two looks at the clock */
#define LM_EXPIRE_STEPS 4U	 /* flows looked at per list and packet */
#define LM_MINIMUM_FLOWS 16U

/* One packet of a group. */
struct lm_ready {
	struct lm_packet packet;
	struct lm_key key;
	uint32_t hash;
	int from_high;
};

struct lm_meter *lm_meter_open(const struct lm_meter_settings *settings)
{
	struct lm_meter *m = calloc(1, sizeof(*m));
	uint64_t seed = settings->seed;

	if (!m)
		return NULL;
	m->settings = *settings;
	if (m->settings.max_flows < LM_MINIMUM_FLOWS)
		m->settings.max_flows = LM_MINIMUM_FLOWS;
	if (!m->settings.batch_rows)
		m->settings.batch_rows = 1;
	if (!seed && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)(uintptr_t)m;
	if (lm_table_init(&m->table, seed)) {
		free(m);
		return NULL;
	}
	return m;
}

static void lm_leave_source(struct lm_meter *m)
{
	struct lm_source *source = &m->sources[m->source_at];

	if (m->capture) {
		m->capture_before += lm_capture_position(m->capture);
		lm_capture_close(m->capture);
		m->capture = NULL;
	}
	if (source->tap) {
		lm_tap_count(source->tap, &m->state);
		lm_tap_close(source->tap);
		source->tap = NULL;
	}
	m->deadline_ns = 0;
	m->source_at++;
}

void lm_meter_close(struct lm_meter *m)
{
	if (!m)
		return;
	while (m->source_at < m->source_count)
		lm_leave_source(m);
	for (uint32_t i = 0; i < m->source_count; i++)
		free(m->sources[i].path);
	free(m->sources);
	free(m->problems);
	lm_table_free(&m->table);
	lm_recent_close(m->recent);
	free(m);
}

static struct lm_source *lm_add_source(struct lm_meter *m, const char *path)
{
	struct lm_source *sources = realloc(m->sources, (m->source_count + 1) * sizeof(*sources));

	if (!sources)
		return NULL;
	m->sources = sources;
	sources[m->source_count] = (struct lm_source){.path = strdup(path)};
	return sources[m->source_count].path ? &sources[m->source_count++] : NULL;
}

int lm_meter_add_capture(struct lm_meter *m, const char *path)
{
	return lm_add_source(m, path) ? 0 : -ENOMEM;
}

int lm_meter_add_interface(struct lm_meter *m, const char *name, uint64_t duration_ns)
{
	struct lm_source *source;
	struct lm_tap *tap;
	int status = lm_tap_open(name, m->settings.ring, m->settings.snap, &tap);

	if (status)
		return status;
	source = lm_add_source(m, name);
	if (!source) {
		lm_tap_close(tap);
		return -ENOMEM;
	}
	source->tap = tap;
	source->duration_ns = duration_ns;
	return 0;
}

void lm_meter_stop(struct lm_meter *m)
{
	atomic_store(&m->stop, 1);
}

static void lm_add_problem(struct lm_meter *m, const char *text)
{
	struct lm_problem *problems = realloc(m->problems, (m->state.problems + 1) * sizeof(*problems));

	if (!problems)
		return;
	m->problems = problems;
	problems[m->state.problems].source = m->source_at;
	snprintf(problems[m->state.problems].text, sizeof(problems->text), "%s", text);
	m->state.problems++;
}

/* ---- packets to flows ---- */

static void lm_count(struct lm_meter *m, int reason, uint64_t octets)
{
	m->state.reasons[reason].packets++;
	m->state.reasons[reason].octets += octets;
}

static uint64_t lm_lifetime(const struct lm_meter *m, int list)
{
	uint64_t idle = m->settings.flow.idle_ns, sooner = idle;

	if (list == LM_LIST_CLOSING)
		sooner = m->settings.flow.linger_ns;
	else if (list == LM_LIST_UNANSWERED)
		sooner = m->settings.unanswered_ns;
	return sooner < idle ? sooner : idle;
}

/*
 * Ends flows whose time is over. A list is in order of last sight, so its oldest end tells. A flow seen "later than
 * now" (a clock that jumped back) must not hold up those behind it: it is put behind them.
 */
static void lm_expire(struct lm_meter *m, uint64_t now_ns, uint32_t steps)
{
	struct lm_table *t = &m->table;

	for (int list = 0; list < LM_LISTS; list++) {
		uint64_t lifetime = lm_lifetime(m, list);

		for (uint32_t step = 0; step < steps; step++) {
			uint32_t i = t->oldest[list];
			uint64_t seen;

			if (i == LM_NO_ENTRY)
				break;
			seen = t->links[i].seen_ns;
			if (seen > now_ns && seen - now_ns > lifetime && t->newest[list] != i)
				lm_table_touch(t, i, seen, (enum lm_list)list);
			else if (now_ns > seen && now_ns - seen > lifetime)
				lm_table_end(t, i,
					     list == LM_LIST_CLOSING ? lm_flow_close_reason(&lm_entry_at(t, i)->flow)
								     : LM_END_IDLE);
			else
				break;
		}
	}
}

/* Ends a flow: a closing one by its own reason. Whether it was ended for the reason given. */
static int lm_end_early(struct lm_table *t, uint32_t i, uint8_t reason)
{
	int closing = t->links[i].list == LM_LIST_CLOSING;

	lm_table_end(t, i, closing ? lm_flow_close_reason(&lm_entry_at(t, i)->flow) : reason);
	return !closing;
}

/* Makes room for one more: the flow seen least recently goes. */
static void lm_evict(struct lm_meter *m)
{
	uint32_t i = lm_table_oldest(&m->table);

	if (i != LM_NO_ENTRY)
		m->state.evicted += (uint64_t)lm_end_early(&m->table, i, LM_END_EVICTED);
}

uint32_t lm_add_flow(struct lm_meter *m, const struct lm_key *key, uint32_t hash, uint64_t at_ns)
{
	uint32_t i;

	if (m->table.live >= m->settings.max_flows)
		lm_evict(m);
	i = lm_table_add(&m->table, key, hash, at_ns);
	return i;
}

static void lm_account(struct lm_meter *m, const struct lm_ready *r)
{
	struct lm_table *t = &m->table;
	const struct lm_packet *p = &r->packet;
	uint32_t i;
	struct lm_flow *f;
	int direction = -1;

	lm_expire(m, p->at_ns, LM_EXPIRE_STEPS);
	i = lm_table_find(t, &r->key, r->hash);
	if (i != LM_NO_ENTRY) {
		__u8 reason;

		f = &lm_entry_at(t, i)->flow;
		reason = lm_flow_split(f, p->at_ns, p->tcp_flags, &m->settings.flow);
		if (reason) {
			lm_table_end(t, i, reason);
			if (reason == LM_END_ACTIVE)
				direction = f->initiator_is_high;
			i = LM_NO_ENTRY;
		}
	}
	if (i == LM_NO_ENTRY) {
		i = lm_add_flow(m, &r->key, r->hash, p->at_ns);
		if (i == LM_NO_ENTRY) {
			lm_count(m, LM_OVERFLOW_LOST, p->wire_octets);
			return;
		}
		f = &lm_entry_at(t, i)->flow;
		lm_flow_start(f, p, r->from_high);
		if (direction >= 0) {
			f->initiator_is_high = (__u8)direction;
			f->inherited = 1;
		}
	}
	lm_flow_add(f, p, r->from_high, &m->settings.flow);
	lm_table_touch(t, i, f->last_ns, lm_list_of(m, f));
	lm_count(m, LM_ACCOUNTED, p->wire_octets);
}

static void lm_prefetch_slot(const struct lm_table *t, uint32_t hash)
{
	__builtin_prefetch(&t->slots[hash & t->mask]);
	__builtin_prefetch(&t->hashes[hash & t->mask]);
}

/* The entry whose hash fits: nearly always the one. */
static void lm_prefetch_entry(const struct lm_table *t, uint32_t hash)
{
	uint32_t at = hash & t->mask;
	const char *line;

	while (t->slots[at] && t->hashes[at] != hash)
		at = (at + 1) & t->mask;
	if (!t->slots[at])
		return;
	__builtin_prefetch(&t->links[t->slots[at] - 1], 1);
	line = (const char *)lm_entry_at(t, t->slots[at] - 1);
	for (size_t i = 0; i < sizeof(struct lm_entry); i += 64)
		__builtin_prefetch(line + i, 1);
}

/* Parses a frame into the next place of a group. 0, or -reason when it was counted here already. */
static int lm_prepare(struct lm_meter *m, const struct lm_frame *f, struct lm_ready *r)
{
	struct lm_cursor c = {.at = f->at, .end = f->at + f->captured, .from = f->at};
	int status;

	memset(&r->packet, 0, sizeof(r->packet));
	r->packet.at_ns = f->at_ns;
	r->packet.wire_octets = f->wire;
	if (!m->state.first_ns || f->at_ns < m->state.first_ns)
		m->state.first_ns = f->at_ns;
	if (f->at_ns > m->state.last_ns)
		m->state.last_ns = f->at_ns;
	status = lm_parse_link(&c, &r->packet, f->link, m->settings.inner != 0);
	if (status < 0) {
		lm_count(m, -status, f->wire);
		return status;
	}
	r->from_high = lm_key_of(&r->packet, &r->key);
	r->hash = (uint32_t)lm_hash_key(&r->key, m->table.seed);
	lm_prefetch_slot(&m->table, r->hash);
	return 0;
}

static void lm_account_group(struct lm_meter *m, const struct lm_ready *group, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		lm_prefetch_entry(&m->table, group[i].hash);
	for (uint32_t i = 0; i < n; i++)
		lm_account(m, &group[i]);
}

int lm_meter_frame(struct lm_meter *m, const uint8_t *frame, uint32_t captured, uint32_t wire, uint64_t at_ns,
		   uint32_t link)
{
	struct lm_frame f = {frame, captured, wire > captured ? wire : captured, link, at_ns};
	struct lm_ready r;
	int status = lm_prepare(m, &f, &r);

	if (!status)
		lm_account(m, &r);
	return -status;
}

/* ---- flows that end without traffic ---- */

void lm_meter_tick(struct lm_meter *m, uint64_t now_ns)
{
	lm_expire(m, now_ns, m->table.live + 1);
}

void lm_meter_flush(struct lm_meter *m)
{
	uint32_t i;

	while ((i = lm_table_oldest(&m->table)) != LM_NO_ENTRY)
		(void)lm_end_early(&m->table, i, LM_END_FORCED);
}

/* ---- sources ---- */

static uint64_t lm_monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t lm_wall(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* Opens sources[source_at]. 0, or -1 when it was left with a problem. */
static int lm_open_source(struct lm_meter *m)
{
	const struct lm_source *source = &m->sources[m->source_at];
	int fd = strcmp(source->path, "-") ? open(source->path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);

	if (fd < 0) {
		lm_add_problem(m, strerror(errno));
		lm_leave_source(m);
		return -1;
	}
	m->capture = lm_capture_open(fd);
	if (m->capture)
		return 0;
	lm_add_problem(m, "no memory to read it");
	lm_leave_source(m);
	return -1;
}

/* Reads on in a capture until a batch is full, the capture ends or it is time to breathe. */
static void lm_read_capture(struct lm_meter *m)
{
	struct lm_ready group[LM_GROUP];
	uint64_t until = lm_capture_position(m->capture) + LM_BREATHE;
	int status = 1;

	while (status > 0 && m->table.ended_count < m->settings.batch_rows && !atomic_load(&m->stop)) {
		struct lm_frame frame;
		uint32_t n = 0;

		for (uint32_t i = 0; i < LM_GROUP; i++) {
			status = lm_capture_next(m->capture, &frame);
			if (status <= 0)
				break;
			n += !lm_prepare(m, &frame, &group[n]);
		}
		lm_account_group(m, group, n);
		if (lm_capture_position(m->capture) > until)
			break;
	}
	if (status < 0)
		lm_add_problem(m, lm_capture_problem(m->capture));
	m->state.bytes_read = m->capture_before + lm_capture_position(m->capture);
	if (status <= 0)
		lm_leave_source(m);
}

/* Takes up to `most` frames without waiting, `frame` being the first of them. As lm_tap_next. */
static int lm_take_frames(struct lm_meter *m, struct lm_tap *tap, struct lm_frame *frame, uint32_t most)
{
	struct lm_ready r;

	for (uint32_t taken = 1;; taken++) {
		int status;

		lm_recent_add(m->recent, frame);
		if (!lm_prepare(m, frame, &r))
			lm_account(m, &r);
		if (taken == most) /* no further one is fetched: it would be missed */
			return 1;
		status = lm_tap_next(tap, frame, 0);
		if (status <= 0)
			return status;
	}
}

/* What the ring still holds is accounted before an interface is left, so that nothing that was received is missing. */
static void lm_finish_interface(struct lm_meter *m, struct lm_tap *tap)
{
	struct lm_frame frame;

	lm_tap_finish(tap);
	while (lm_tap_next(tap, &frame, LM_WAIT_MS) > 0)
		if (lm_take_frames(m, tap, &frame, UINT32_MAX) < 0)
			return;
}

/* How long an interface is read before the caller has a look: it is kept waiting only while there is nothing for it. */
static uint64_t lm_patience(const struct lm_meter *m)
{
	uint32_t idle_ms = m->settings.breathe_ms;

	return (m->table.ended_count || !idle_ms ? LM_WAIT_MS : idle_ms) * 1000000ULL;
}

/* The same for an interface; here the wall clock ends flows too. */
static void lm_read_interface(struct lm_meter *m, struct lm_source *source)
{
	uint64_t from = lm_monotonic();
	int status = 0;

	if (!m->deadline_ns)
		m->deadline_ns = source->duration_ns ? from + source->duration_ns : UINT64_MAX;
	while (m->table.ended_count < m->settings.batch_rows && !atomic_load(&m->stop)) {
		struct lm_frame frame;
		uint64_t now = lm_monotonic();

		if (now >= m->deadline_ns || now - from > lm_patience(m))
			break;
		status = lm_tap_next(source->tap, &frame, LM_WAIT_MS / 2);
		if (status < 0)
			break;
		if (status > 0)
			status = lm_take_frames(m, source->tap, &frame, LM_TURN);
		if (status < 0)
			break;
		lm_meter_tick(m, lm_wall());
	}
	if (status < 0)
		lm_add_problem(m, strerror(-status));
	if (status < 0 || lm_monotonic() >= m->deadline_ns) {
		lm_finish_interface(m, source->tap);
		lm_leave_source(m);
	} else {
		lm_tap_count(source->tap, &m->state);
	}
}

void lm_read_on(struct lm_meter *m)
{
	struct lm_source *source;

	while (atomic_load(&m->stop) && m->source_at < m->source_count) {
		if (m->sources[m->source_at].tap)
			lm_finish_interface(m, m->sources[m->source_at].tap);
		lm_leave_source(m);
	}
	if (m->source_at == m->source_count) {
		lm_meter_flush(m);
		m->flushed = 1;
		return;
	}
	source = &m->sources[m->source_at];
	if (source->tap)
		lm_read_interface(m, source);
	else if (m->capture || !lm_open_source(m))
		lm_read_capture(m);
}
