"""The connection to NATS: logged in, kept, its losses told at once to all who wait for an answer.

Called by `nats` and `nats_reading`. In: settings. Out: messages sent and their JetStream answers. Every fault of
nats-py becomes one of ours here. Leaves what is sent to its callers.
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from nats.js.manager import JetStreamManager

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable, UsageError
from loomidi.kit.logging import logger
from loomidi.loom.bus.settings import BusSettings

_log = logger("loom.bus")
_FULL = 10077  # JetStream's code of a stream that has reached its limit
_AGAIN_S = 0.2  # between two attempts to connect again
_LEAVE_S = 5.0  # that a connection may take to close; whoever waited for an answer was told before
_PENDING = 8 << 20  # octets that nats-py holds while it connects again; more is refused


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What our streams are called there."""

    prefix: str

    def stream(self, stream: str) -> str:
        """JetStream's name of a stream."""
        return f"{self.prefix}-{stream}"

    def subject(self, *parts: str) -> str:
        """NATS subject of a stream, or of something beside it."""
        return ".".join((self.prefix, *parts))


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel them until they are: one cancellation may be lost where it meets an answer (`wait_for` of Python 3.11)."""
    while pending := [one for one in tasks if not one.done()]:
        for one in pending:
            one.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


class Connection:
    """One client. Lost connections come back by themselves; whoever waits for an answer meanwhile is told."""

    def __init__(self, settings: BusSettings, login: tuple[str, str] | None) -> None:
        self._settings, self._login = settings, login
        self.names = Names(settings.prefix)
        self._client = Client()
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tokens = itertools.count()
        self._inbox = ""
        self._up = asyncio.Event()
        self._last_fault, self._refused = "no answer", asyncio.Event()
        self.stalled = False  # the server is there and stores nothing: its disk may be full
        self.losses = 0  # connections lost so far: readers look whether theirs is still the one they began with

    async def open(self) -> None:
        """Connect within the patience of the settings."""
        pace = {"reconnect_time_wait": _AGAIN_S}
        options = {**pace, **_login(self._settings, self._login), **_tls(self._settings)}
        try:
            async with asyncio.timeout(max(self._settings.patience_s, 0.1)):
                await self._connected_or_refused(options)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            if not isinstance(error, TimeoutError):  # it was told before what kept us waiting
                self._note(error)
            await self._abandon()
            if self._refused.is_set():
                raise EnvironmentLacks(f"{self._told()} does not let us in; check the credentials") from error
            raise Retryable(f"{self._told()} does not answer: {self._last_fault}") from error
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)
        self._up.set()

    async def _connected_or_refused(self, options: dict[str, Any]) -> None:
        """nats-py tries for ever; who is not let in need not wait for that."""
        tasks = [asyncio.create_task(one) for one in (self._connect(options), self._refused.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise nats.errors.NoServersError
            await tasks[0]
        finally:
            await _ended(tasks)

    async def _connect(self, options: dict[str, Any]) -> None:
        await self._client.connect(
            self._settings.url.split(","),
            name="loomidi",
            error_cb=self._failed,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
            max_reconnect_attempts=-1,
            connect_timeout=2,
            ping_interval=5,
            pending_size=_PENDING,
            **options,
        )

    def _told(self) -> str:
        """Where it is, without a password that may be in the URL."""
        return ",".join(one.split("@")[-1].split("://")[-1] for one in self._settings.url.split(","))

    async def _abandon(self) -> None:
        """Close; a server that broke off in the handshake can keep nats-py waiting for the end of it for ever."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LEAVE_S):
                await self._client.close()

    def _note(self, error: BaseException) -> None:
        self._last_fault = " ".join(str(error).split()).lower() or type(error).__name__
        if "authorization" in self._last_fault or "authentication" in self._last_fault:
            self._refused.set()

    async def _failed(self, error: Exception) -> None:
        self._note(error)

    async def _lost(self) -> None:
        self._up.clear()
        self.losses += 1
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.done():
                one.set_exception(Retryable(f"the connection to {self._told()} was lost; try again"))
                one.exception()  # it is told to whoever waits; nobody need be
        if waiting:
            _log.warning("connection to the bus lost", unanswered=len(waiting))

    async def _back(self) -> None:
        self._up.set()

    async def _answered(self, message: Msg) -> None:
        """An acknowledgement. The token in its subject says of what."""
        waiting = self._waiting.pop(message.subject.rsplit(".", 1)[-1], None)
        if waiting is None or waiting.done():
            return
        status = (message.headers or {}).get("Status")
        self.stalled = status == "503"
        if status == "503":
            waiting.set_exception(Retryable("nobody holds this stream: it was deleted, or the server's disk is full"))
            waiting.exception()
            return
        waiting.set_result(json.loads(message.data))

    async def client(self, patience_s: float | None = None) -> Client:
        """The client while it is connected. Raises Retryable after the patience."""
        if not (self._up.is_set() and self._client.is_connected):
            patience = self._settings.patience_s if patience_s is None else patience_s
            try:
                async with asyncio.timeout(max(patience, 0.001)):
                    await self._up.wait()
            except TimeoutError as error:
                raise Retryable(f"{self._told()} is away: {self._last_fault}") from error
        return self._client

    async def api(self, patience_s: float | None = None) -> JetStreamManager:
        """JetStream's API."""
        client = await self.client(patience_s)
        return client.jetstream(timeout=max(self._settings.patience_s, 1.0))

    async def send(self, subject: str, payload: bytes, headers: dict[str, str]) -> "asyncio.Future[dict[str, Any]]":
        """Hand a message to the connection; the future is its acknowledgement. Raises UsageError for one too large."""
        client = await self.client()
        token = f"{next(self._tokens):x}"
        waiting = self._waiting[token] = asyncio.get_running_loop().create_future()
        try:
            await client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
        except nats.errors.MaxPayloadError as error:
            del self._waiting[token]
            raise UsageError(f"an envelope of {len(payload)} octets: the server takes {client.max_payload}") from error
        except nats.errors.Error as error:
            self._waiting.pop(token, None)
            raise Retryable(f"{self._told()} is away: {error}") from error
        await asyncio.sleep(0)  # let it be written while the next one is made
        return waiting

    async def answer(self, waiting: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
        """The acknowledgement. Raises Retryable for a refusal, a lost connection, silence."""
        try:
            async with asyncio.timeout(max(self._settings.patience_s, 1.0)):
                told = await waiting
        except TimeoutError as error:
            self.stalled = True
            raise Retryable(f"{self._told()} did not acknowledge in time; try again") from error
        error_told = told.get("error")
        if error_told:
            words = error_told.get("description", "an error without words")
            if error_told.get("err_code") == _FULL:
                raise Retryable(f"the bus is full ({words}); let its readers catch up, trim it or raise stream_octets")
            raise Retryable(f"the bus refused: {words}")
        return told

    async def close(self) -> None:
        """Whatever waits is told; the connection ends."""
        await self._lost()
        await self._abandon()


@contextlib.contextmanager
def mapped(what: str) -> Iterator[None]:
    """Errors of nats-py as ours; NotFound and BadRequest are for the caller to meet inside."""
    try:
        yield
    except (NoStreamResponseError, ServiceUnavailableError) as error:
        raise Retryable(
            f"{what}: nobody holds streams there; is JetStream on, and is there room on its disk?"
        ) from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise Retryable(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _login(settings: BusSettings, login: tuple[str, str] | None) -> dict[str, Any]:
    """How we say who we are. Raises InputError for a file that says nothing."""
    if login is None and settings.credentials:
        path = Path(settings.credentials)
        try:
            text = path.read_text()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; it holds the credentials of the bus") from error
        if "BEGIN NATS USER JWT" in text:
            if importlib.util.find_spec("nkeys") is None:
                raise EnvironmentLacks("NATS credentials (.creds) need the library nkeys; run: pip install nkeys")
            return {"user_credentials": str(path)}
        user, colon, password = text.strip().partition(":")
        if not colon:
            raise InputError(f"{path} holds neither NATS credentials nor USER:PASSWORD")
        login = (user, password)
    return {"user": login[0], "password": login[1]} if login else {}


def _tls(settings: BusSettings) -> dict[str, Any]:
    secure = urlsplit(settings.url.split(",")[0]).scheme == "tls" or settings.tls_ca or settings.tls_cert
    if not secure:
        return {}
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_cert:
            context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"certificates of the bus cannot be read: {error}") from error
    return {"tls": context}
