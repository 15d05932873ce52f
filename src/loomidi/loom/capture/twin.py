"""The shield in user space: the same C body over plain tables, fed frame by frame.

Called by tests (the reference of the kernel) and where there is no XDP. In: Ethernet frames with their times (ns
since the epoch), or captures. Out: the Shield Protocol. Its clock is the last frame's time, so it is exact and needs
no waiting.
"""

import ctypes
import dataclasses
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi.contracts.ports import Suspect
from loomidi.loom.capture import layouts, native, verdicts
from loomidi.loom.capture.frames import Frame
from loomidi.loom.capture.layouts import Enabled
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.flows.tables import FlowTable

ETHERNET = 1  # LINKTYPE_
_FLOWS = MeterSettings()
_ROOM = 1024  # suspects of one call
_TABLES = (layouts.TUPLES, layouts.HOSTS, layouts.CIDRS, layouts.PROTECTED, layouts.OWN_LIMITS, layouts.WATCH)
_NUMBERS = {name: number for number, name in enumerate(_TABLES)}
_KEYS = dict(zip(_TABLES, (40, 16, 20, 20, 24, 24), strict=True))
_VALUES = {layouts.PROTECTED: 4, layouts.OWN_LIMITS: ctypes.sizeof(layouts.OwnLimits)} | {
    layouts.WATCH: ctypes.sizeof(layouts.WatchState)
}
_P, _U32 = ctypes.c_void_p, ctypes.c_uint32
_FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "lm_twin_open": (_P, [_P]),
    "lm_twin_close": (None, [_P]),
    "lm_twin_control": (_P, [_P]),
    "lm_twin_counts": (_P, [_P]),
    "lm_twin_lookup": (_P, [_P, _U32, ctypes.c_char_p]),
    "lm_twin_update": (ctypes.c_int, [_P, _U32, ctypes.c_char_p, ctypes.c_char_p]),
    "lm_twin_delete": (ctypes.c_int, [_P, _U32, ctypes.c_char_p]),
    "lm_twin_next": (ctypes.c_int64, [_P, _U32, ctypes.c_int64, _P, _P]),
    "lm_twin_packet": (ctypes.c_int, [_P, ctypes.c_char_p, _U32, _U32, ctypes.c_uint64]),
    "lm_twin_suspects": (_U32, [_P, _P, _U32]),
    "lm_twin_drain": (ctypes.c_int, [_P, _P]),
    "lm_frames_open": (_P, [ctypes.c_char_p]),
    "lm_frames_next": (ctypes.c_int, [_P, _P]),
    "lm_frames_close": (None, [_P]),
}


class _Settings(ctypes.Structure):
    """struct lm_twin_settings."""

    _fields_ = [(name, _U32) for name in ("entries", "flows", "watched", "records", "suspects", "inner")]


class _Frame(ctypes.Structure):
    """struct lm_frame."""

    _fields_ = [("at", _P), ("captured", _U32), ("wire", _U32), ("link", _U32), ("at_ns", ctypes.c_uint64)]


@dataclasses.dataclass(frozen=True, slots=True)
class TwinSettings:
    """Sizes of one twin."""

    max_entries: int = 65_536  # per verdict table
    max_flows: int = 65_536  # between two drains; beyond: records
    max_watched: int = 65_536  # sources and services
    records: int = 11_000  # finished or overflowed flows between two drains, as many as the kernel's ring
    suspects: int = 1_400  # as many as the kernel's ring
    accounting: bool = True
    watch: verdicts.Watch | None = verdicts.DEFAULT_WATCH
    inner: bool = False
    flows: MeterSettings = _FLOWS


def _library() -> ctypes.CDLL:
    library = native.library()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class TwinTables:
    """The twin's tables as `shielding.Tables`."""

    def __init__(self, settings: TwinSettings) -> None:
        sizes = (settings.max_entries, settings.max_flows, settings.max_watched, settings.records, settings.suspects)
        self._library = _library()
        self.handle = self._library.lm_twin_open(ctypes.byref(_Settings(*sizes, int(settings.inner))))
        if not self.handle:
            raise EnvironmentLacks("no memory for the tables of a twin; lower their sizes")
        self.control = layouts.Control.from_address(self._library.lm_twin_control(self.handle))
        self.clock_ns = 0

    def lookup(self, table: str, key: bytes) -> bytes | None:
        """The value, or None."""
        at = self._library.lm_twin_lookup(self.handle, _NUMBERS[table], key)
        return ctypes.string_at(at, _value_octets(table)) if at else None

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Write one element."""
        if self._library.lm_twin_update(self.handle, _NUMBERS[table], key, value):
            raise OSError(7, "the table is full")  # E2BIG, as the kernel says

    def delete(self, table: str, key: bytes) -> bool:
        """False when there was none."""
        return bool(self._library.lm_twin_delete(self.handle, _NUMBERS[table], key))

    def items(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All elements as they are now."""
        key, value = ctypes.create_string_buffer(_KEYS[table]), ctypes.create_string_buffer(_value_octets(table))
        found, slot = [], -1
        while (slot := self._library.lm_twin_next(self.handle, _NUMBERS[table], slot, key, value)) >= 0:
            found.append((key.raw, value.raw))
        return iter(found)

    def raw(self, table: str) -> tuple[bytes, bytes]:
        """All keys and all values, each one after the other."""
        found = list(self.items(table))
        return b"".join(key for key, _ in found), b"".join(value for _, value in found)

    def counts(self) -> list[layouts.Count]:
        """One per reason."""
        return self._counts()[: len(layouts.Reason)]

    def untold(self) -> int:
        """Suspects that found the queue full."""
        return int(self._counts()[layouts.UNTOLD].packets)

    def _counts(self) -> list[layouts.Count]:
        counts = layouts.Count * (len(layouts.Reason) + 1)
        return list(counts.from_address(self._library.lm_twin_counts(self.handle)))

    def now_ns(self) -> int:
        """The last frame's time."""
        return self.clock_ns

    def enable(self, bits: int) -> None:
        """Set bits of `control.enabled`."""
        self.control.enabled |= bits

    def packet(self, frame: bytes, wire_octets: int, at_ns: int) -> int:
        """LM_PASS or LM_DROP."""
        self.clock_ns = max(self.clock_ns, at_ns)
        return int(self._library.lm_twin_packet(self.handle, frame, len(frame), wire_octets, at_ns))

    def suspects(self) -> list[layouts.Suspect]:
        """What was told since the last call."""
        events = (layouts.Suspect * _ROOM)()
        return list(events[: self._library.lm_twin_suspects(self.handle, events, _ROOM)])

    def drain(self, flows: FlowTable) -> None:
        """Hand all flow states over."""
        if self._library.lm_twin_drain(self.handle, flows.handle):
            raise EnvironmentLacks("no memory for drained flows; lower the number of flows")

    def close(self) -> None:
        """Free it."""
        if self.handle:
            del self.control
            self._library.lm_twin_close(self.handle)
        self.handle = None


def _value_octets(table: str) -> int:
    return _VALUES.get(table, ctypes.sizeof(layouts.Verdict))


class TwinShield(TableShield):
    """Adapter of `contracts.ports.Shield` without a kernel."""

    def __init__(self, name: str = "twin0", settings: TwinSettings | None = None) -> None:
        """An empty shield at time 0."""
        self.settings = settings or TwinSettings()
        self._twin = TwinTables(self.settings)
        super().__init__(name, "twin", self._twin, 0)
        self._flows = FlowTable(self.settings.flows)
        control, timeouts = self._twin.control, self.settings.flows.native()
        control.flow = layouts.Settings(timeouts.idle_ns, timeouts.active_ns, timeouts.linger_ns, timeouts.activity_ns)
        control.generation = 1
        self.watch(self.settings.watch)
        if self.settings.accounting:
            self._twin.enable(Enabled.ACCOUNTING)

    def process(self, frame: bytes, at_ns: int, wire_len: int | None = None) -> str:
        """One Ethernet frame at its time (epoch); returns `pass` or `drop`."""
        verdict = self._twin.packet(frame, len(frame) if wire_len is None else wire_len, at_ns)
        return "drop" if verdict == layouts.Action.DROP else "pass"

    def replay(self, capture: str | os.PathLike[str]) -> Iterator[tuple[Frame, str]]:
        """All Ethernet frames of a capture, each with its verdict. Frames of other link types are left out."""
        for frame in frames(capture):
            if frame.link == ETHERNET:
                yield frame, self.process(frame.octets, frame.at_ns, frame.wire_octets)

    def move_to(self, at_ns: int) -> None:
        """Let time pass without traffic: entries and flows end by it."""
        self._twin.clock_ns = max(self._twin.clock_ns, at_ns)

    def suspects(self, timeout_s: float) -> list[Suspect]:
        """Threshold crossings since the last call; never waits."""
        return [verdicts.suspect_of(event, 0) for event in self._twin.suspects()]

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Flows that ended (schema `FLOWS`)."""
        self._twin.drain(self._flows)
        self._flows.tick(self._twin.clock_ns)
        yield from self._flows.drain()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """As `drain`, and end what is still open (`forced`)."""
        self._twin.drain(self._flows)
        self._flows.flush()
        yield from self._flows.drain()

    def close(self) -> None:
        """Free all tables."""
        self._flows.close()
        self._twin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def frames(capture: str | os.PathLike[str]) -> Iterator[Frame]:
    """Frames of a pcap or pcapng file (gz too), up to the first octet that cannot be read. Raises InputError."""
    library = _library()
    handle = library.lm_frames_open(os.fsencode(capture))
    if not handle:
        raise InputError(f"{os.fspath(capture)}: cannot be opened; check the path")
    frame = _Frame()
    try:
        while library.lm_frames_next(handle, ctypes.byref(frame)) == 1:
            octets = ctypes.string_at(frame.at, frame.captured) if frame.captured else b""
            yield Frame(octets, frame.wire, frame.link, frame.at_ns)
    finally:
        library.lm_frames_close(handle)
