"""Idempotency keys: the same request twice is one request, also when both are under way.

Called by `handling`. In: a key, the route, the body. Out: a number that becomes the epoch of the envelopes' ids, so
that bus and lake know them again after a restart; while they are remembered here, the same answer. A key with another
body is refused as long as it is remembered; afterwards it is another request, for the body is part of the number.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from loomidi.services.http.problems import Answer, Problem

_LONGEST_KEY = 255
_INLINE = 64 * 1024  # octets, hashed at once; more goes to a thread


class Keys:
    """Keys of the last requests, with their answers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], tuple[int, asyncio.Future[Answer]]] = OrderedDict()

    async def once(self, route: str, key: str, body: bytes, run: Callable[[int | None], Awaitable[Answer]]) -> Answer:
        """Run, or give the answer that was given. What fails is forgotten: it may be sent again."""
        if not key:
            return await run(None)
        _check(key)
        if len(body) <= _INLINE:
            number = number_of(route, key, body)
        else:
            number = await asyncio.to_thread(number_of, route, key, body)
        known = self._known.get((route, key))
        if known is not None:
            if known[0] != number:
                detail = "this Idempotency-Key belongs to another body: take a new key for each body"
                raise Problem("key-reused", detail)
            self._known.move_to_end((route, key))
            return await asyncio.shield(known[1])
        return await self._run(route, key, number, run)

    async def _run(self, route: str, key: str, number: int, run: Callable[[int | None], Awaitable[Answer]]) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._known[route, key] = number, answer
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        try:
            found = await run(number)
        except BaseException as error:
            self._known.pop((route, key), None)
            answer.set_exception(error)
            answer.exception()  # whether or not somebody waits for it
            raise
        answer.set_result(found)
        return found


def _check(key: str) -> None:
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        detail = f"the Idempotency-Key must be 1 to {_LONGEST_KEY} printable ASCII characters, such as a UUID"
        raise Problem("malformed", detail)


def number_of(route: str, key: str, body: bytes) -> int:
    """63 bits of route, key and body."""
    digest = hashlib.blake2b(f"{route}\0{key}\0".encode(), digest_size=8)
    digest.update(body)
    return int.from_bytes(digest.digest(), "big") >> 1
