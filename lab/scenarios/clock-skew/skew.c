/* SPDX-License-Identifier: Apache-2.0 */
/* Shifts the wall clock of one process by the seconds that $SKEW_FILE holds; the monotonic clock stays, so that timers keep their meaning. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void)
{
	char text[24] = {0};
	const char *path = getenv("SKEW_FILE");
	int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;

	if (file < 0)
		return 0; // no file: the true time
	if (read(file, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(file);
	return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int answer = (int)syscall(SYS_clock_gettime, clock, at);

	if (!answer && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		at->tv_sec += offset_s();
	return answer;
}

int gettimeofday(struct timeval *at, void *zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
