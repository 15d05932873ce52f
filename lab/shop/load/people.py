"""One person's browser: a few kept HTTP/1.1 connections from an address of their own.

Called by `sending`. Parsing is h11's; this leaves redirects, caches and cookies to the plan, which knows them already.
"""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

import h11

_CONNECT_S = 5.0
_READ = 65536
_IDLE_S = 10.0


@dataclass(slots=True)
class Outcome:
    """What became of a request."""

    sent_ns: int  # when it was written; 0: it never was
    status: int  # 0: no answer
    received: int  # bytes of body
    error: str  # kind of failure; empty: there was an answer


class Connection:
    """One TCP connection and its parser."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.CLIENT)
        self.idle_since = time.monotonic()

    @property
    def usable(self) -> bool:
        """Whether the next request may go over it."""
        young = time.monotonic() - self.idle_since < _IDLE_S
        return young and self._state.our_state is h11.IDLE and not self._reader.at_eof()

    async def ask(self, outcome: Outcome, request: h11.Request, body: bytes) -> None:
        """Send, read the answer to its end, make ready for the next one."""
        data = self._state.send(request) or b""
        if body:
            data += self._state.send(h11.Data(body)) or b""
        data += self._state.send(h11.EndOfMessage()) or b""
        outcome.sent_ns = time.time_ns()
        self._writer.write(data)
        await self._writer.drain()
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                self._state.receive_data(await self._reader.read(_READ))
            elif isinstance(event, h11.Response):
                outcome.status = event.status_code
            elif isinstance(event, h11.Data):
                outcome.received += len(event.data)
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
        if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
        self.idle_since = time.monotonic()

    def close(self) -> None:
        """Close without waiting."""
        self._writer.close()


class Person:
    """Somebody with a browser."""

    def __init__(self, host: str, port: int, source: str, connections: int) -> None:
        self._host, self._port, self._source = host, port, source
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(connections)

    async def __aenter__(self) -> "Person":
        """For tests that want all closed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def ask(self, method: str, path: str, visitor: str, body: str, patience_s: float) -> Outcome:
        """One request; whatever goes wrong is in the outcome."""
        outcome = Outcome(0, 0, 0, "")
        raw = body.encode()
        headers = [("Host", f"{self._host}:{self._port}"), ("Cookie", f"visitor={visitor}")]
        headers += [("User-Agent", "Mozilla/5.0 (shop load)"), ("Accept", "*/*")]
        if raw:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(raw)))]
        request = h11.Request(method=method, target=path, headers=headers)
        try:
            async with asyncio.timeout(patience_s), self._room:
                await self._over_one(outcome, request, raw)
        except TimeoutError:
            outcome.error, outcome.status = "timeout", 0
        except ConnectionRefusedError:
            outcome.error = "refused"
        except (ConnectionError, h11.RemoteProtocolError):
            outcome.error, outcome.status = "reset", 0
        except OSError as error:
            outcome.error = f"os_{error.errno}"
        return outcome

    async def _over_one(self, outcome: Outcome, request: h11.Request, body: bytes) -> None:
        connection = await self._connection()
        try:
            await connection.ask(outcome, request, body)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        local = (self._source, 0) if self._source else None
        async with asyncio.timeout(_CONNECT_S):
            return Connection(*await asyncio.open_connection(self._host, self._port, local_addr=local))

    def tidy(self) -> bool:
        """Close what has been idle too long; True: nothing is open any more."""
        for connection in [c for c in self._idle if not c.usable]:
            self._idle.remove(connection)
            connection.close()
        return not self._idle

    def close(self) -> None:
        """Close everything that is idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
