"""Captures and interfaces to a stream of flow batches.

Called by verbs, `services.analyzing` and the public `loomidi.meter`. In: paths, interface names, `-`. Out: Arrow
batches of the schema `FLOWS`, a balance of packets, problems of single sources. Leaves writing and showing to callers.
"""

import dataclasses
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from loomidi.contracts.errors import InputError, LoomidiError, UsageError
from loomidi.contracts.schemas import FLOWS
from loomidi.loom.capture import native
from loomidi.loom.capture.meters import Meter
from loomidi.loom.flows.settings import MeterSettings

STANDARD_INPUT = "-"
_INTERFACES = Path("/sys/class/net")


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A source that could not be read (to its end). What was readable before it has been reported."""

    source: str
    message: str  # one line: what is wrong and what to do


def meter(
    sources: Sequence[str | os.PathLike[str]],
    settings: MeterSettings | None = None,
    *,
    duration_s: float = 0.0,
) -> "FlowStream":
    """Turn captures, interfaces or standard input (`-`) into flows, in the order given.

    `duration_s` ends reading of interfaces; 0: until `FlowStream.stop`. Raises InputError for a source that is not
    there or no file, EnvironmentLacks without the right to capture.
    """
    if not sources:
        raise UsageError("nothing to read; name at least one capture or interface")
    names = [os.fspath(source) for source in sources]
    interfaces = [_is_interface(name) for name in names]
    for name, interface in zip(names, interfaces, strict=True):
        if not interface:
            _check_capture(name)
    if any(interfaces) and len(names) > 1:
        raise UsageError("give either captures or one interface, not both")
    stream = FlowStream(names, settings or MeterSettings())
    try:
        for name, interface in zip(names, interfaces, strict=True):
            stream._add(name, interface, duration_s)
    except LoomidiError:
        stream.close()
        raise
    return stream


def _is_interface(name: str) -> bool:
    """A file of that name wins: `./eth0` and `eth0` can be told apart, the other way round not."""
    return "/" not in name and name not in ("", ".", "..") and not Path(name).exists() and (_INTERFACES / name).exists()


def _check_capture(name: str) -> None:
    """Raises InputError for what can never be read."""
    if name == STANDARD_INPUT:
        return
    if not name or "\0" in name:
        raise InputError(f"{name!r} is no name of a file; name a capture (pcap or pcapng) or an interface")
    try:
        mode = Path(name).stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file or interface; check the name, `ip link` lists interfaces") from error
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; name a capture (pcap or pcapng) or an interface") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a directory; name the captures in it, such as {name.rstrip('/')}/*.pcap")
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        raise InputError(f"{name} is neither a file nor a pipe; name a capture (pcap or pcapng)")
    if not os.access(name, os.R_OK):
        raise InputError(f"{name}: no right to read it; run as its owner or give read access (chmod +r)")


class FlowStream(Iterator[pa.RecordBatch]):
    """Batches of ended flows; reads on only when asked for the next. Close it, or use it as a context."""

    schema = FLOWS

    def __init__(self, sources: Sequence[str], settings: MeterSettings) -> None:
        """Use `meter`, which checks the sources."""
        self.sources = tuple(sources)
        self.settings = settings
        self.on_breath: Callable[[], object] | None = None
        # Called every few MiB of input, or five times a second on an interface: for progress.
        self._meter: Meter | None = Meter(settings.native())
        self._reader: pa.RecordBatchReader | None = None
        self._state = self._meter.state()
        self._problems: tuple[Problem, ...] = ()
        self._total = sum(_size(name) for name in sources)
        self.live = False

    def _add(self, name: str, interface: bool, duration_s: float) -> None:
        assert self._meter is not None
        if interface:
            self._meter.add_interface(name, duration_s)
            self.live = True
        else:
            self._meter.add_capture(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_meter", None) is not None:
            self.close()

    def __next__(self) -> pa.RecordBatch:
        """The next batch that is not empty."""
        if self._meter is None:
            raise StopIteration
        if self._reader is None:
            self._reader = self._meter.reader(everything=True)
        while True:
            batch = self._reader.read_next_batch()  # raises StopIteration at the end
            if self.on_breath is not None:
                self.on_breath()
            if batch.num_rows:
                return batch

    def reader(self) -> pa.RecordBatchReader:
        """The same batches as a pyarrow reader, which keeps this stream alive."""
        return pa.RecordBatchReader.from_batches(FLOWS, self)

    def stop(self) -> None:
        """Read no further; flows in the table still come. Safe from signal handlers and other threads."""
        if self._meter is not None:
            self._meter.stop()

    def close(self) -> None:
        """Free the table. Balance and problems stay readable."""
        if self._meter is None:
            return
        self._state, self._problems = self._meter.state(), self._read_problems()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._meter.close()
        self._meter = None

    def _now(self) -> native.State:
        return self._state if self._meter is None else self._meter.state()

    def _read_problems(self) -> tuple[Problem, ...]:
        assert self._meter is not None
        found = (self._meter.problem(number) for number in range(self._meter.state().problems))
        return tuple(Problem(_shown(self.sources[source]), message) for source, message in found)

    @property
    def balance(self) -> dict[str, tuple[int, int]]:
        """Reason -> packets and octets of frames, so far. Each packet is in exactly one.

        `lost` is there on interfaces only: packets that the kernel had to discard because we were too slow.
        """
        state = self._now()
        counts = {
            name: (int(count.packets), int(count.octets))
            for name, count in zip(native.REASONS, state.reasons, strict=True)
        }
        return counts | {"lost": (int(state.lost), 0)} if self.live else counts

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Sources that could not be read (to their end), so far."""
        return self._problems if self._meter is None else self._read_problems()

    @property
    def seconds_of_capture(self) -> float:
        """From the first to the last packet."""
        state = self._now()
        return float((state.last_ns - state.first_ns) / 1e9)

    @property
    def bytes_read(self) -> int:
        """Octets of the captures read so far, compressed ones as compressed."""
        return int(self._now().bytes_read)

    @property
    def bytes_total(self) -> int:
        """Octets that there are to read; 0 when that is not known (pipes, interfaces)."""
        return self._total

    @property
    def flows(self) -> int:
        """Exported so far."""
        return int(self._now().flows)

    @property
    def evicted(self) -> int:
        """Flows ended early because the table was full (`MeterSettings.max_flows`)."""
        return int(self._now().evicted)


def _size(name: str) -> int:
    try:
        found = Path(name).stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name
