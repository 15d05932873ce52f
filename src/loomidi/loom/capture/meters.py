"""One meter of the C library as an object: packets or kernel drains in, Arrow batches out.

Called by `loom.flows`. In: capture paths, interface names, frames, per-CPU partial states. Out: a pyarrow reader whose
buffers are C's (no copy). Leaves checking of sources, timing and names of things to `loom.flows`.
"""

import ctypes
import errno
import os

import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi.loom.capture import native
from loomidi.loom.capture.frames import Frame

ETHERNET = 1
"""LINKTYPE_ETHERNET."""


class Meter:
    """Owns one `struct lm_meter`. For one thread, but for `stop`."""

    def __init__(self, settings: native.Settings) -> None:
        """Raises EnvironmentLacks when the library or memory is missing."""
        self._library = native.library()
        self._handle: int | None = self._library.lm_meter_open(ctypes.byref(settings))
        self._recent = 0
        if not self._handle:
            raise EnvironmentLacks("no memory for a flow table; close something or lower the number of flows")

    @property
    def handle(self) -> int:
        """The pointer, for other bindings of the same library. Raises ValueError once closed."""
        if not self._handle:
            raise ValueError("the meter is closed")
        return self._handle

    def add_capture(self, path: str) -> None:
        """Queue a capture; `-` is standard input."""
        self._library.lm_meter_add_capture(self.handle, os.fsencode(path))

    def add_interface(self, name: str, duration_s: float) -> None:
        """Start receiving from an interface; 0 s: until stopped. Raises EnvironmentLacks or InputError."""
        status = self._library.lm_meter_add_interface(self.handle, os.fsencode(name), int(duration_s * 1e9))
        if status in (-errno.EPERM, -errno.EACCES):
            denied = PermissionError(-status, os.strerror(-status), name)
            raise EnvironmentLacks(f"{name}: no right to capture; run as root or give CAP_NET_RAW") from denied
        if status == -errno.EPROTONOSUPPORT:
            raise InputError(f"{name}: its link type is not supported; capture on the device below it")
        if status:
            raise EnvironmentLacks(f"{name}: cannot capture: {os.strerror(-status)}; see `loomidi doctor`")

    def stop(self) -> None:
        """End reading as if the input ended. Safe from signal handlers and other threads."""
        self._library.lm_meter_stop(self.handle)

    def frame(self, frame: bytes, at_ns: int, wire: int, link: int = ETHERNET) -> str:
        """Account one frame of `wire` octets; returns the reason it was counted under."""
        return native.REASONS[self._library.lm_meter_frame(self.handle, frame, len(frame), wire, at_ns, link)]

    def absorb(self, keys: int, values: int, shape: tuple[int, int, int], offset_ns: int) -> None:
        """Merge partial states at two addresses. `shape`: flows, CPUs, octets between two CPUs' states."""
        flows, cpus, stride = shape
        if self._library.lm_meter_absorb(self.handle, keys, values, flows, cpus, stride, offset_ns):
            raise EnvironmentLacks("no memory for drained flows; lower the number of flows")

    def absorb_records(self, records: int, count: int, offset_ns: int, *, in_order: bool) -> None:
        """Merge `count` adjacent `struct lm_record`."""
        if self._library.lm_meter_absorb_records(self.handle, records, count, offset_ns, int(in_order)):
            raise EnvironmentLacks("no memory for drained flows; lower the number of flows")

    def tick(self, now_ns: int) -> None:
        """End what is over by now."""
        self._library.lm_meter_tick(self.handle, now_ns)

    def flush(self) -> None:
        """End all flows."""
        self._library.lm_meter_flush(self.handle)

    def reader(self, *, everything: bool) -> pa.RecordBatchReader:
        """Flows as they end. `everything`: read the queued sources to their end, else only what has ended already."""
        stream = native.Stream()
        if self._library.lm_meter_stream(self.handle, int(everything), ctypes.byref(stream)):
            raise EnvironmentLacks("no memory for a stream of flows; close something")
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream))

    def keep_recent(self, frames: int) -> None:
        """Keep the first 128 octets of so many frames of interfaces, the last ones. Call it before a source is read."""
        if self._library.lm_meter_keep_recent(self.handle, frames):
            raise EnvironmentLacks(f"no memory for the last {frames} frames; ask for fewer")
        self._recent = frames

    def recent(self) -> list[Frame]:
        """The last frames, the oldest first, cut to 128 octets. From any thread while the meter is open."""
        taken = (native.RecentFrame * self._recent)()
        count = self._library.lm_meter_recent(self.handle, taken, self._recent)
        return [Frame(bytes(one.octets)[: one.captured], one.wire, one.link, one.at_ns) for one in taken[:count]]

    def state(self) -> native.State:
        """Counters and positions as of now."""
        state = native.State()
        self._library.lm_meter_state(self.handle, ctypes.byref(state))
        return state

    def problem(self, number: int) -> tuple[int, str]:
        """Index of the source and what was wrong with it. Raises IndexError beyond the last."""
        source = ctypes.c_uint32()
        text = self._library.lm_meter_problem(self.handle, number, ctypes.byref(source))
        if text is None:
            raise IndexError(number)
        return source.value, text.decode("utf-8", "replace")

    def close(self) -> None:
        """Free it. Readers made by `reader` must be closed before."""
        if self._handle:
            self._library.lm_meter_close(self._handle)
        self._handle = None
