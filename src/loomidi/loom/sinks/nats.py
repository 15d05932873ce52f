"""Events on NATS JetStream, over the connection that the bus uses.

Called by `services.events`. In: letters. Out: messages that a stream has acknowledged, their id as `Nats-Msg-Id`, so
that one that comes twice within the stream's window is held once. The connection lives on a loop of its own thread.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from nats.js.errors import BadRequestError, NotFoundError

from loomidi.contracts import LoomidiError, Retryable, UsageError
from loomidi.loom.bus.nats_connecting import Connection, mapped
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.sinks.letters import Away, Letter, Undeliverable
from loomidi.loom.sinks.settings import NatsSettings

Answer = TypeVar("Answer")


class NatsSink:
    """One subject."""

    name = "nats"
    most = 64

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away without an acknowledgement for each, Undeliverable for one that is too large."""
        try:
            self._run(self._publish(letters))
        except UsageError as error:
            raise Undeliverable("too_large", str(error)) from error
        except (Retryable, OSError) as error:
            self.close()
            raise error if isinstance(error, Away) else Away("away", str(error)) from error
        except LoomidiError:
            self.close()
            raise

    def close(self) -> None:
        """The connection and its loop end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._run(connection.close())
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="loomidi-sink-nats", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _publish(self, letters: Sequence[Letter]) -> None:
        connection = self._connection or await self._connected()
        waiting = []
        for one in letters:
            headers = {"Nats-Msg-Id": one.id, "Content-Type": "application/json", "Loomidi-Kind": one.kind}
            waiting.append(await connection.send(self._settings.subject, one.body, headers))
        for answer in waiting:
            await connection.answer(answer)

    async def _connected(self) -> Connection:
        chosen = self._settings
        bus = BusSettings(
            url=chosen.url, credentials=chosen.credentials, tls_ca=chosen.tls_ca, patience_s=chosen.patience_s
        )
        connection = Connection(bus, None)
        await connection.open()
        self._connection = connection
        await self._ensure(connection)
        return connection

    async def _ensure(self, connection: Connection) -> None:
        """Some stream holds the subject: without one, nobody would answer for what is published."""
        manager = await connection.api()
        with mapped(f"stream {self._settings.stream}"):
            try:
                await manager.find_stream_name_by_subject(self._settings.subject)
            except NotFoundError:
                try:
                    await manager.add_stream(name=self._settings.stream, subjects=[self._settings.subject])
                except BadRequestError as error:
                    raise Away("stream", f"{self._settings.stream} cannot be made: {error.description}") from error
