"""The Shield in the kernel: verdict tables, events, drains.

Called by `capture.open_shield` and the verbs. In: `Loaded` maps of an attached program. Out: the Shield Protocol.
Leaves attaching and pins to `attaching`, verdict logic to `shielding`.
"""

import ctypes
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa

from loomidi.contracts.ports import Suspect
from loomidi.loom.capture import layouts, native, verdicts
from loomidi.loom.capture.layouts import Enabled
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.capture.xdp import bpf
from loomidi.loom.capture.xdp.attaching import Attached
from loomidi.loom.capture.xdp.loading import Loaded, ShieldSettings, possible_cpus
from loomidi.loom.capture.xdp.rings import Ring
from loomidi.loom.flows.tables import FlowTable

_TAKE = 2048  # flows moved by one system call
_LOOK_S = 1.0  # how often a waiting reader looks whether the interface is still there


class KernelTables:
    """Kernel maps as `shielding.Tables`."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._memory = mmap.mmap(loaded.maps[layouts.CONTROL].fd, mmap.PAGESIZE)
        self.control = layouts.Control.from_buffer(self._memory)
        self.clock: Callable[[], int] = time.monotonic_ns  # a test that brings its own packet times sets its own
        self._set_bits = native.library().lm_set_bits
        self._set_bits.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._set_bits.restype = None

    def lookup(self, table: str, key: bytes) -> bytes | None:
        """The value, or None."""
        return self.loaded.maps[table].lookup(key)

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Write one element."""
        self.loaded.maps[table].update(key, value)

    def delete(self, table: str, key: bytes) -> bool:
        """False when there was none."""
        return self.loaded.maps[table].delete(key)

    def items(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All elements."""
        return self.loaded.maps[table].items()

    def raw(self, table: str) -> tuple[bytes, bytes]:
        """All keys and all values, each one after the other, read in batches."""
        return self.loaded.maps[table].read()

    def counts(self) -> list[layouts.Count]:
        """One per reason, summed over CPUs."""
        return [self._count(reason) for reason in layouts.Reason]

    def untold(self) -> int:
        """Suspects that found the ring full."""
        return int(self._count(layouts.UNTOLD).packets)

    def _count(self, index: int) -> layouts.Count:
        raw = self.loaded.maps[layouts.COUNTERS].lookup(int(index).to_bytes(4, "little")) or b""
        each = (layouts.Count * possible_cpus()).from_buffer_copy(raw)
        return layouts.Count(sum(c.packets for c in each), sum(c.octets for c in each))

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return self.clock()

    def enable(self, bits: int) -> None:
        """Set bits of `control.enabled`, atomically against other processes."""
        self._set_bits(ctypes.addressof(self.control) + layouts.Control.enabled.offset, bits)

    def close(self) -> None:
        """Unmap the control record and close the maps."""
        del self.control
        self._memory.close()
        self.loaded.close()


class KernelShield(TableShield):
    """XDP or tc on one interface. `suspects` and `drain` may run in two threads; each of them in one at a time."""

    def __init__(self, attached: Attached, settings: ShieldSettings | None = None, *, fresh: bool = True) -> None:
        """`fresh`: this process attached it and sets the control record; else it is as its owner left it."""
        self.settings = settings or ShieldSettings()
        self.attached = attached
        self._tables = KernelTables(attached.loaded)
        super().__init__(attached.name, attached.rung, self._tables, epoch_offset_ns())
        self._maps = attached.loaded.maps
        self._rings: dict[str, Ring] = {}
        self._lock = threading.Lock()
        self._flows: FlowTable | None = None
        self._buffers: tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]] | None = None
        if fresh:
            self._initialise()

    def suspects(self, timeout_s: float) -> list[Suspect]:
        """Wait up to `timeout_s` for threshold crossings. Raises EnvironmentLacks when the interface has gone."""
        ring = self._ring(layouts.EVENTS, layouts.Suspect, 256)
        until = time.monotonic() + timeout_s
        while True:
            buffer, count = ring.read()
            if count:
                return [
                    verdicts.suspect_of(event, self.offset_ns) for event in _records(buffer, layouts.Suspect, count)
                ]
            left = until - time.monotonic()
            if left <= 0:
                return []
            if not ring.wait(min(left, _LOOK_S)):
                self.attached.check()

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Switch the flow tables, absorb them and yield the flows that ended (schema `FLOWS`)."""
        with self._lock:
            now_ns = self._tables.now_ns() + self.offset_ns
            table = self._absorb_all()
            table.tick(now_ns)
            yield from table.drain()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """As `drain`, and end what is still open (`forced`)."""
        with self._lock:
            table = self._absorb_all()
            table.flush()
            yield from table.drain()

    def live_flows(self) -> int:
        """Flows that have not ended, as of the last drain."""
        return self._flows.live if self._flows else 0

    def close(self) -> None:
        """Let go of the handles; what is pinned stays, what is not ends here."""
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        if self._flows:
            self._flows.close()
            self._flows = None
        self._tables.close()
        self.attached.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _initialise(self) -> None:
        control, flows = self._tables.control, self.settings.flows.native()
        control.flow = layouts.Settings(flows.idle_ns, flows.active_ns, flows.linger_ns, flows.activity_ns)
        control.generation = 1
        self.watch(self.settings.watch)
        if self.settings.accounting:
            self._tables.enable(Enabled.ACCOUNTING)

    def _ring(self, name: str, record: type[ctypes.Structure], room: int) -> Ring:
        if name not in self._rings:
            fd = self._maps[name].fd
            self._rings[name] = Ring(fd, bpf.map_info(fd)[3], record, room)
        return self._rings[name]

    def _absorb_all(self) -> FlowTable:
        """Ring first: what is in it was finished before what is still in the tables."""
        if self._flows is None:
            self._flows = FlowTable(self.settings.flows)
        taken = self._switch()
        self._absorb_ring(self._flows)
        for table in taken:
            self._absorb_table(self._flows, table)
        return self._flows

    def _switch(self) -> list[bpf.Map]:
        """Turn the programs to the other set; when this returns, none of them is still in the old one."""
        tables, cpus = self.attached.loaded.tables, possible_cpus()
        old = self._tables.control.table & 1
        self._tables.control.table = old ^ 1
        if not tables:
            return []
        # Writing a map of maps waits for all running programs (maybe_wait_bpf_programs, kernel/bpf/syscall.c).
        self._maps[layouts.FLOWS].update((0).to_bytes(4, "little"), tables[0].fd.to_bytes(4, "little"))
        return tables[old * cpus : (old + 1) * cpus]

    def _absorb_ring(self, flows: FlowTable) -> None:
        ring = self._ring(layouts.RECORDS, layouts.Record, _TAKE)
        while True:
            buffer, count = ring.read()
            if not count:
                return
            flows.absorb_records(ctypes.addressof(buffer), count, self.offset_ns, in_order=True)

    def _absorb_table(self, flows: FlowTable, table: bpf.Map) -> None:
        if self._buffers is None:
            make = ctypes.create_string_buffer
            self._buffers = make(_TAKE * table.key_octets), make(_TAKE * table.value_octets)
        keys, values = self._buffers
        for count in table.take(keys, values, _TAKE):
            flows.absorb_records(ctypes.addressof(values), count, self.offset_ns, in_order=False)


def _records(
    buffer: ctypes.Array[ctypes.c_char], record: type[layouts.Suspect], count: int
) -> ctypes.Array[layouts.Suspect]:
    return (record * count).from_buffer(buffer)


def epoch_offset_ns() -> int:
    """From CLOCK_MONOTONIC to the epoch: the tightest of a few readings."""
    readings = []
    for _ in range(5):
        before = time.monotonic_ns()
        now = time.time_ns()
        after = time.monotonic_ns()
        readings.append((after - before, now - (before + after) // 2))
    return min(readings)[1]
