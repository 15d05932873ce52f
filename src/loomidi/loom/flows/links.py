"""Live flows of many links in several network namespaces, links followed as they come and go.

Called by `services.watching`, the lab's recorder and symptom checks. In: (namespace, glob) pairs and meter settings.
Out: (link, Arrow batch of `FLOWS`) as flows end, and for each link where every packet went: what the kernel counted
for its socket is the sum of all the other counters. A thread for each link reads; when nobody takes the batches it
waits, the socket's ring fills, and what does not fit is counted by the kernel. Leaves namespaces to `loom.capture`.
"""

import fnmatch
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa

from loomidi.contracts.errors import InputError, LoomidiError, UsageError
from loomidi.loom.capture import spaces
from loomidi.loom.capture.frames import Frame
from loomidi.loom.capture.meters import Meter
from loomidi.loom.flows.accounts import Account, LinkId
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.flows.tidings import Tidings

__all__ = ["LIVE", "LinkFilter", "LinkId", "LinkMeters"]

LIVE = MeterSettings(
    active_s=5.0,
    idle_s=10.0,
    linger_s=1.0,
    unanswered_s=1.5,
    breathe_s=1.0,
    batch_rows=4096,
    ring_mib=4,
    snap_octets=256,
)
"""Flows cut often, so that findings come soon, and a ring that many links can have: 12,000 packets in 4 MiB."""

_QUEUE = 256  # batches that wait for the consumer; most hold a few flows
_MOST_ACCOUNTS = 4096  # links remembered one by one after they have gone
_MOST_PROBLEMS = 100
_POLL_S = 0.1
GONE = "(gone)"  # stands for the links that are not remembered one by one any more


class LinkFilter(NamedTuple):
    """Which links: a network namespace under /run/netns ("" is our own) and a glob of their names."""

    netns: str
    pattern: str


class LinkMeters:
    """Meters every link that a filter fits. Iterate, then `stop`, iterate to the end; or use it as a context."""

    def __init__(
        self,
        filters: Sequence[tuple[str, str]],
        settings: MeterSettings = LIVE,
        *,
        rescan_s: float = 1.0,
        batches: int = _QUEUE,
        recent: int = 0,
    ) -> None:
        """Opens what is there now; more is opened as it comes, at once where the kernel tells, else within `rescan_s`.

        `recent`: of so many frames of each link, the last ones, the first 128 octets are kept (1.2 MB for 8,192).
        Raises UsageError without a filter, InputError for a namespace that is not there, EnvironmentLacks without the
        right to enter it or to capture.
        """
        if not filters:
            raise UsageError("nothing to watch; name at least one link, such as eth0 or 'veth*'")
        self.settings = settings
        self._filters = [LinkFilter(*one) for one in filters]
        self._rescan_s, self._recent = rescan_s, recent
        self._ready: queue.Queue[tuple[LinkId, pa.RecordBatch]] = queue.Queue(batches)
        self._lock = threading.Lock()
        self._accounts: dict[LinkId, Account] = {}
        self._readers: dict[LinkId, _Reader] = {}
        self._known: dict[str, tuple[int, int]] = {}  # namespace -> identity
        self._problems: list[str] = []
        self._stopping, self.abandoned = threading.Event(), threading.Event()
        self._tidings = Tidings()
        try:
            with ThreadPoolExecutor(1) as aside:  # the caller's thread never leaves its own namespace
                aside.submit(self._scan_all).result()
        except BaseException:
            self.close()
            raise
        self._scanner = threading.Thread(target=self._follow, name="loomidi-links", daemon=True)
        self._scanner.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[LinkId, pa.RecordBatch]]:
        """Batches that are not empty, until `stop` and all that was still to come."""
        while True:
            taken = self.take(1.0)
            yield from taken
            if not taken and self.ended:
                return

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]:
        """All batches that are there; waits up to `timeout_s` for the first."""
        taken, until = list[tuple[LinkId, pa.RecordBatch]](), time.monotonic() + timeout_s
        while not taken and not self.ended:
            try:
                taken.append(self._ready.get(timeout=min(_POLL_S, max(until - time.monotonic(), 0.001))))
            except queue.Empty:
                if time.monotonic() >= until:
                    break
        for _ in range(self._ready.qsize()):
            taken.append(self._ready.get())
        return taken

    @property
    def ended(self) -> bool:
        """Whether it was stopped and every batch has been taken."""
        with self._lock:
            return self._stopping.is_set() and not self._readers and self._ready.empty()

    @property
    def links(self) -> tuple[LinkId, ...]:
        """Those that are read now."""
        with self._lock:
            return tuple(self._readers)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, one line each, at most 100."""
        with self._lock:
            return tuple(self._problems)

    def balance(self) -> dict[LinkId, dict[str, int]]:
        """For each link `received`, the packets that the kernel counted for its socket, and where each of them went.

        `received` is the sum of all the others. `unread` waits in the ring; once stopped it is 0, or packets that were
        left behind. `socket_dropped` did not fit into the ring. `seen_twice` is loopback's second look.
        """
        with self._lock:
            return {link: account.balance() for link, account in self._accounts.items()}

    def figures(self) -> dict[LinkId, dict[str, int]]:
        """For each link what is worth knowing beside the balance, see `Account.figures`."""
        with self._lock:
            return {link: account.figures() for link, account in self._accounts.items()}

    def recent(self) -> dict[LinkId, list[Frame]]:
        """The last frames of each link that is read now, the oldest first; empty unless `recent` was asked for."""
        with self._lock:
            readers = dict(self._readers)
        return {link: frames for link, reader in readers.items() if (frames := reader.recent())}

    def stop(self) -> None:
        """Read no further; flows in the tables still come. Safe from signal handlers and other threads."""
        self._stopping.set()
        self._tidings.wake()

    def close(self) -> None:
        """Stop and wait for the threads; batches that nobody took are counted as `undelivered`."""
        self.stop()
        self.abandoned.set()
        scanner = getattr(self, "_scanner", None)
        if scanner is not None:
            scanner.join()
        for reader in list(self._readers.values()):
            reader.leave()
            reader.join()
        while not self._ready.empty():
            self.discard(*self._ready.get())
        self._tidings.close()

    # -- called by readers -------------------------------------------------------------------------------------

    def hand_over(self, link: LinkId, batch: pa.RecordBatch) -> None:
        """Queue a batch, waiting for room; a wait is counted, and so is a batch that nobody will take."""
        began = time.monotonic_ns()
        while not self.abandoned.is_set():
            try:
                self._ready.put((link, batch), timeout=_POLL_S)
            except queue.Full:
                continue
            waited = time.monotonic_ns() - began
            with self._lock:
                self._accounts[link].delivered(batch, waited)
            return
        self.discard(link, batch, handed=False)

    def discard(self, link: LinkId, batch: pa.RecordBatch, *, handed: bool = True) -> None:
        """Count a batch that nobody took."""
        with self._lock:
            self._accounts[link].discarded(batch, handed=handed)

    def report(self, reader: "_Reader", *, ended: bool) -> None:
        """Note what a reader's meter has counted so far; when it has ended, forget the reader."""
        with self._lock:
            self._accounts[reader.link].note(reader.meter.state(), ended=ended)
            if ended:
                del self._readers[reader.link]
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        gone = [link for link in self._accounts if link not in self._readers and link.name != GONE]
        for link in gone[: max(len(gone) - _MOST_ACCOUNTS, 0)]:
            account = self._accounts.pop(link)
            self._accounts.setdefault(LinkId(link.netns, GONE, 0), Account()).absorb(account)

    # -- the scanner's thread ----------------------------------------------------------------------------------

    def _spaces(self) -> list[str]:
        return list(dict.fromkeys(one.netns for one in self._filters))

    def _scan_all(self) -> None:
        for netns in self._spaces():
            self._scan(netns)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._tidings.wait(self._rescan_s)
            for netns in self._spaces():
                if self._stopping.is_set():
                    break
                try:
                    self._scan(netns)
                except (LoomidiError, OSError) as error:
                    self._complain(str(error))
        for reader in list(self._readers.values()):
            reader.leave()

    def _scan(self, netns: str) -> None:
        """Open what is new in a namespace; leave all of one that is gone or another by now."""
        identity = spaces.identity(netns)
        if netns in self._known and identity != self._known[netns]:
            del self._known[netns]
            self._tidings.forget(netns)
            for link, reader in list(self._readers.items()):
                if link.netns == netns:
                    reader.leave()
            return
        if identity is None and self._began():
            return  # it may come back; at the start it is a mistake, which entering tells
        with spaces.inside(netns):
            if identity is not None and netns not in self._known:
                self._known[netns] = identity
                self._tidings.listen(netns)
            for seen in spaces.links():
                if seen.up and self._wanted(netns, seen.name):
                    self._open(LinkId(netns, seen.name, seen.index))

    def _began(self) -> bool:
        return hasattr(self, "_scanner")

    def _wanted(self, netns: str, name: str) -> bool:
        return any(one.netns == netns and fnmatch.fnmatchcase(name, one.pattern) for one in self._filters)

    def _open(self, link: LinkId) -> None:
        """Within its namespace: the socket, then a thread that reads it."""
        with self._lock:
            if link in self._readers or self._refused(link):
                return
        meter = Meter(self.settings.native())
        try:
            meter.keep_recent(self._recent)
            meter.add_interface(link.name, 0.0)
        except LoomidiError as error:
            meter.close()
            if not self._began() and isinstance(error.__cause__, PermissionError):
                raise
            self._complain(f"{link}: {error}", link if isinstance(error, InputError) else None)
            return
        before = spaces.packets_of(link.name)  # after the opening, which takes the kernel some 20 ms
        reader = _Reader(self, link, meter)
        with self._lock:
            self._accounts.setdefault(link, Account()).opened(before)
            self._readers[link] = reader
        reader.start()

    def _refused(self, link: LinkId) -> bool:
        """A link of a kind that cannot be metered is not tried every second."""
        return link in self._accounts and self._accounts[link].refused

    def _complain(self, line: str, link: LinkId | None = None) -> None:
        with self._lock:
            if link is not None:
                self._accounts.setdefault(link, Account()).refused = True
            if line not in self._problems and len(self._problems) < _MOST_PROBLEMS:
                self._problems.append(line)


class _Reader(threading.Thread):
    """Reads one link until it is left or the link vanishes. The only thread that touches its meter once it runs."""

    def __init__(self, meters: LinkMeters, link: LinkId, meter: Meter) -> None:
        super().__init__(name=f"loomidi-{link.name}", daemon=True)
        self.link, self.meter = link, meter
        self._meters = meters
        self._lock, self._open = threading.Lock(), True

    def leave(self) -> None:
        """Ask for the end; the rest of the ring is still read. From any thread."""
        with self._lock:
            if self._open:
                self.meter.stop()

    def recent(self) -> list[Frame]:
        """The last frames; none once it has ended. From any thread."""
        with self._lock:
            return self.meter.recent() if self._open else []

    def run(self) -> None:
        try:
            with self.meter.reader(everything=True) as batches:
                for batch in batches:
                    self._pass_on(batch)
        finally:
            self._meters.report(self, ended=True)
            with self._lock:
                self._open = False
            self.meter.close()

    def _pass_on(self, batch: pa.RecordBatch) -> None:
        self._meters.report(self, ended=False)  # first: nobody may meet a flow whose packets are not counted yet
        if batch.num_rows:
            self._meters.hand_over(self.link, batch)


def total(balance: Mapping[LinkId, Mapping[str, int]]) -> dict[str, int]:
    """All links together."""
    summed: dict[str, int] = {"received": 0}
    for one in balance.values():
        for name, packets in one.items():
            summed[name] = summed.get(name, 0) + packets
    return summed
