"""RFC 3339 texts to int64 ns, as Kubernetes, audit logs, container logs, Falco and Tetragon write them.

Called by every source, here and in the lab, for each line, so the date part is kept: only its fraction is parsed anew.
"""

import calendar
import functools

from loomidi.contracts.errors import InputError


@functools.lru_cache(maxsize=4096)
def _seconds(stamp: str) -> int:
    """Seconds of `2026-11-25T21:36:19`."""
    fields = (stamp[0:4], stamp[5:7], stamp[8:10], stamp[11:13], stamp[14:16], stamp[17:19])
    return calendar.timegm(tuple(int(field) for field in fields))


@functools.lru_cache(maxsize=256)
def _offset(zone: str) -> int:
    """Seconds east of Greenwich of `Z`, `+01:00`."""
    if zone in ("Z", "z"):
        return 0
    return (1 if zone[0] == "+" else -1) * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)


def nanoseconds(text: str) -> int:
    """ns since the epoch. Raises InputError for what is no RFC 3339 time."""
    try:
        at, rest = _seconds(text[:19]), text[19:]
        fraction = 0
        if rest[0] in ".,":
            size = 1
            while rest[size].isdigit():
                size += 1
            fraction, rest = int(rest[1:size].ljust(9, "0")[:9]), rest[size:]
        return (at - _offset(rest)) * 1_000_000_000 + fraction
    except (ValueError, IndexError) as error:
        raise InputError(f"{text[:40]!r} is no RFC 3339 time such as 2026-11-25T21:36:19.5Z") from error
