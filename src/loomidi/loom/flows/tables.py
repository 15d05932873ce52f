"""A flow table that is fed by hand: drains of the kernel's tables, single frames, a clock.

Called by `loom.capture` (kernel shield and twin) and tests. In: partial states as `struct lm_flow`, frames. Out: Arrow
batches of the schema `FLOWS`. Leaves reading of kernel maps to the caller.
"""

import ctypes
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa

from loomidi.contracts.errors import UsageError
from loomidi.contracts.schemas import FLOWS
from loomidi.loom.capture import native
from loomidi.loom.capture.meters import ETHERNET, Meter
from loomidi.loom.flows.settings import MeterSettings


class FlowTable:
    """Open flows of one observation point, and those that ended and wait to be drained."""

    schema = FLOWS

    def __init__(self, settings: MeterSettings | None = None) -> None:
        """An empty table."""
        self.settings = settings or MeterSettings()
        self._meter = Meter(self.settings.native())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def frame(self, frame: bytes, at_ns: int, wire_octets: int | None = None, link: int = ETHERNET) -> str:
        """Account one frame; returns the reason it was counted under. `link`: its LINKTYPE_."""
        return self._meter.frame(frame, at_ns, len(frame) if wire_octets is None else wire_octets, link)

    def absorb(self, keys: bytes | bytearray, values: bytes | bytearray, *, cpus: int = 1, offset_ns: int = 0) -> None:
        """Merge partial states of a drain: n `struct lm_key`, and n times `cpus` `struct lm_flow`.

        A state may be followed by padding (per-CPU maps round to 8 octets). `offset_ns` is added to every time, to get
        from CLOCK_MONOTONIC to the epoch. A state with `end` set ends its flow. Raises UsageError on odd lengths.
        """
        key_octets, flow_octets = native.flow_sizes()
        flows, rest = divmod(len(keys), key_octets)
        stride, odd = divmod(len(values), flows * cpus) if flows else (flow_octets, len(values))
        if rest or odd or stride < flow_octets:
            raise UsageError(f"{len(keys)} octets of keys and {len(values)} of states do not fit {cpus} CPUs")
        self.absorb_at(_address(keys), _address(values), (flows, cpus, stride), offset_ns)

    def absorb_at(self, keys: int, values: int, shape: tuple[int, int, int], offset_ns: int) -> None:
        """As `absorb`, from two addresses. `shape`: flows, CPUs, octets between two CPUs' states."""
        self._meter.absorb(keys, values, shape, offset_ns)

    def absorb_records(self, records: int, count: int, offset_ns: int, *, in_order: bool) -> None:
        """As `absorb`, from `count` adjacent `struct lm_record` (key and state) at an address. `in_order`: of time."""
        self._meter.absorb_records(records, count, offset_ns, in_order=in_order)

    def tick(self, now_ns: int) -> None:
        """End flows that are over by now (epoch); needs no traffic."""
        self._meter.tick(now_ns)

    def flush(self) -> None:
        """End all flows, as `forced`."""
        self._meter.flush()

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Flows that have ended since the last drain."""
        with self._meter.reader(everything=False) as reader:
            yield from reader

    @property
    def balance(self) -> dict[str, tuple[int, int]]:
        """Reason -> packets and octets of the frames given to `frame`."""
        counts = zip(native.REASONS, self._meter.state().reasons, strict=True)
        return {name: (int(count.packets), int(count.octets)) for name, count in counts}

    @property
    def live(self) -> int:
        """Flows that have not ended."""
        return int(self._meter.state().live)

    @property
    def evicted(self) -> int:
        """Flows ended early because the table was full."""
        return int(self._meter.state().evicted)

    @property
    def handle(self) -> int:
        """The C meter, for other bindings of the same library."""
        return self._meter.handle

    def close(self) -> None:
        """Free it. A drain in progress must be finished before."""
        self._meter.close()


def _address(octets: bytes | bytearray) -> int:
    """Where they are. The caller keeps them alive."""
    if isinstance(octets, bytearray):
        return ctypes.addressof((ctypes.c_char * len(octets)).from_buffer(octets)) if octets else 0
    return ctypes.cast(ctypes.c_char_p(octets), ctypes.c_void_p).value or 0
