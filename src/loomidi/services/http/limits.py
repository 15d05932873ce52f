"""Bodies of requests, bounded: octets, memory of all together, the rate at which they come, what they unpack to.

Called by handlers. In: the ASGI `receive` and the headers. Out: the whole body as bytes, its memory set aside until
the handler is done; or a `Problem`. Nothing is trusted that the client says of itself: octets are counted as they come.
"""

import asyncio
import contextlib
import dataclasses
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from loomidi.services.http.problems import Problem, try_later

Receive = Callable[[], Awaitable[Any]]
_MIB = 1 << 20
_TIMED = 64 * 1024  # octets after which the deadline moves
_INLINE = 4096  # octets that are unpacked at once; more goes to a thread, for the loop serves others


@dataclasses.dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be."""

    body_octets: int = 64 * _MIB
    # Of one body, as sent and as unpacked. An hour of flows of a node fits; more is sent in parts.
    memory_octets: int = 256 * _MIB
    # Of all bodies in progress; beyond it 429. Four of the largest at once.
    least_rate: int = 16 * 1024
    # Octets a second that a body must come at, on average after `grace_s`; slower ones hold a place that others need.
    grace_s: float = 10.0
    # Before the rate is asked for: a slow start is not an attack.
    expansion: int = 100
    # Octets that one octet of gzip may unpack to. Telemetry packs 5 to 40 times, bombs a thousand times.


class Budget:
    """Memory that bodies in progress may take together."""

    def __init__(self, octets: int) -> None:
        self._most, self.taken = octets, 0

    def take(self, octets: int) -> None:
        """Raises the problem 429 when it is full."""
        if self.taken + octets > self._most:
            raise try_later(
                "memory", "bodies in progress fill the memory set aside for them: send again in a moment", 1
            )
        self.taken += octets

    def give_back(self, octets: int) -> None:
        """What was taken."""
        self.taken -= octets


@contextlib.asynccontextmanager
async def whole_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    limits: BodyLimits,
    budget: Budget,
    came: Callable[[int], object] = lambda _octets: None,
) -> AsyncIterator[bytes]:
    """The body, unpacked; its memory is given back at the end of the context. `came`: octets as sent, whatever happens.

    Raises Problem for what is beyond the limits.
    """
    encoding = _encoding(headers)
    _check_told(headers, limits)
    held = _Held(budget)
    try:
        try:
            body = await _received(receive, limits, held)
        finally:
            came(held.octets)
        if encoding == "gzip":
            body = await _unpacked(body, limits, held)
        yield body
    finally:
        budget.give_back(held.octets)


class _Held:
    """What one request has taken of the budget."""

    __slots__ = ("budget", "octets")

    def __init__(self, budget: Budget) -> None:
        self.budget, self.octets = budget, 0

    def take(self, octets: int) -> None:
        self.budget.take(octets)
        self.octets += octets


def _encoding(headers: Mapping[bytes, bytes]) -> str:
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise Problem(
            "media-type",
            f"Content-Encoding {encoding!r} is not taken: send the body as it is, or with Content-Encoding: gzip",
            headers={"Accept-Encoding": "gzip, identity"},
        )
    return encoding


def _check_told(headers: Mapping[bytes, bytes], limits: BodyLimits) -> None:
    """A length that is too large is refused before anything is read."""
    told = headers.get(b"content-length", b"0")
    if told.isdigit() and int(told) > limits.body_octets:
        raise _too_large(limits)


def _too_large(limits: BodyLimits) -> Problem:
    most = limits.body_octets
    return Problem("too-large", f"a body may have {most:,} octets: send it in parts", most_octets=most)


async def _received(receive: Receive, limits: BodyLimits, held: _Held) -> bytes:
    began = asyncio.get_running_loop().time() + limits.grace_s
    try:
        async with asyncio.timeout_at(began) as timer:
            return await _gathered(
                receive, limits, held, lambda octets: timer.reschedule(began + octets / limits.least_rate)
            )
    except TimeoutError:
        detail = f"the body came at less than {limits.least_rate:,} octets a second: send it faster or in parts"
        raise Problem("too-slow", detail, headers={"Connection": "close"}) from None


async def _gathered(receive: Receive, limits: BodyLimits, held: _Held, came: Callable[[int], object]) -> bytes:
    """All chunks. `came` hears now and then how many octets there are: a timer for each chunk would cost too much."""
    chunks: list[bytes] = []
    told = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem("malformed", "the body ended before it was complete: send it again")
        if chunk := message.get("body", b""):
            held.take(len(chunk))
            chunks.append(chunk)
        if held.octets > limits.body_octets:
            raise _too_large(limits)
        if held.octets - told > _TIMED:
            told = held.octets
            came(told)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _unpacked(packed: bytes, limits: BodyLimits, held: _Held) -> bytes:
    most = min(limits.body_octets, len(packed) * limits.expansion)
    parts = _gunzip(packed, most) if len(packed) <= _INLINE else await asyncio.to_thread(_gunzip, packed, most)
    if parts is None:
        detail = (
            f"the body unpacks to more than {most:,} octets (at most {limits.expansion} times its size and "
            f"{limits.body_octets:,}): send it in parts, or without Content-Encoding"
        )
        raise Problem("too-large", detail, most_octets=most)
    held.take(sum(map(len, parts)))
    return b"".join(parts)


def _gunzip(packed: bytes, most: int) -> list[bytes] | None:
    """All members; None as soon as they are more than `most` octets. Memory never exceeds that by more than 1 MiB."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in _members(packed):
            size += len(part)
            if size > most:
                return None
            parts.append(part)
    except zlib.error as error:
        detail = "the body is not gzip as Content-Encoding says: leave the header away or pack the body"
        raise Problem("malformed", detail) from error
    return parts


def _members(packed: bytes) -> Iterator[bytes]:
    rest = packed
    while rest:
        unpacking = zlib.decompressobj(wbits=31)
        while not unpacking.eof:
            part = unpacking.decompress(rest, _MIB)
            rest = unpacking.unconsumed_tail
            if not part and not rest and not unpacking.eof:
                raise Problem("malformed", "the gzip body ends early: send it again")
            yield part
        rest = unpacking.unused_data
