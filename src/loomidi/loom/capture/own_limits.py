"""Thresholds of single sources and services, and their short-window counters, between records and octets.

Called by `shielding` (kernel and twin alike). In: whose counters, thresholds with an end, raw keys and values. Out:
keys and values as the data plane reads them; `OwnLimits` with epoch times; the counters of all that is watched as one
Arrow batch. What thresholds are right is left to `ionic.enforcer`.
"""

import ctypes
import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.contracts.errors import UsageError
from loomidi.loom.capture import layouts, verdicts

KEY_OCTETS = 24
KINDS = {"source": layouts.WatchKind.SOURCE, "service": layouts.WatchKind.SERVICE}
COUNTERS = ("packets", "octets", "syns", "ports", "peers")
WINDOWS = pa.schema(
    [
        pa.field("key", pa.binary(KEY_OCTETS)),  # `struct lm_watch_key`; read with `watched_of`
        pa.field("elapsed_ns", pa.uint64()),  # from the window's first packet to now
        *(pa.field(name, pa.uint64()) for name in COUNTERS),  # in the window so far; ports and peers are estimates
    ]
)
_MOST = {"packets": 2**32 - 1, "octets": 2**63 - 1, "syns": 2**32 - 1, "ports": 1_400, "peers": 1_400}
_FIELDS = ("from_ns", "octets", "packets", "syns", "ports_set", "peers_set")


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """Whose short-window counters: one source, or one service (destination, port, protocol)."""

    kind: str  # source, service
    address: str
    port: int = 0  # of a service
    protocol: int = 0  # IANA number, of a service

    @property
    def text(self) -> str:
        """The name under which the fast lane's detectors know it."""
        return (
            f"source/{self.address}" if self.kind == "source" else f"service/{self.address}:{self.port}/{self.protocol}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class OwnLimits:
    """Thresholds in force for one source or service."""

    watched: Watched
    limits: verdicts.Limits
    expires_ns: int  # epoch
    rule_id: int  # 32 bit, links them to their plan; 0: none
    live: bool


def key_of(watched: Watched) -> bytes:
    """`struct lm_watch_key`. Raises UsageError for a kind or an address that is none."""
    if watched.kind not in KINDS:
        raise UsageError(f"{watched.kind!r} is not watched; use source or service")
    key = layouts.WatchKey(port=watched.port, protocol=watched.protocol, kind=KINDS[watched.kind])
    return verdicts.address_of(watched.address) + bytes(key)[16:]


def watched_of(key: bytes) -> Watched:
    """The way back."""
    raw = layouts.WatchKey.from_buffer_copy(key)
    kind = "source" if raw.kind == layouts.WatchKind.SOURCE else "service"
    return Watched(kind, verdicts.text_of(key[:16]), raw.port, raw.protocol)


def value_of(limits: verdicts.Limits, ttl_s: float, now_ns: int, rule_id: int) -> bytes:
    """`struct lm_own_limits`. Raises UsageError for thresholds without an end, or beyond what is compared."""
    if not (math.isfinite(ttl_s) and 0 < ttl_s <= 366 * 86400):
        raise UsageError(f"a time to live of {ttl_s:g} s makes no sense; thresholds of their own need an end")
    for name, most in _MOST.items():
        if not 0 <= getattr(limits, name) <= most:
            raise UsageError(f"a threshold of {getattr(limits, name)} {name} cannot be compared; use 0 to {most}")
    expires_ns = now_ns + round(ttl_s * 1e9)
    return bytes(layouts.OwnLimits(expires_ns, verdicts.limits_of(limits), rule_id & 0xFFFFFFFF))


def own_limits_of(key: bytes, value: bytes, now_ns: int, offset_ns: int) -> OwnLimits:
    """Thresholds read back. `ports` and `peers` are what the bits of their bitmap stand for."""
    raw = layouts.OwnLimits.from_buffer_copy(value)
    limits = plain_limits(raw.limits)
    return OwnLimits(watched_of(key), limits, raw.expires_ns + offset_ns, raw.rule_id, raw.expires_ns > now_ns)


def plain_limits(raw: layouts.Limits) -> verdicts.Limits:
    """Thresholds as they are said: counts instead of bits."""
    ports, peers = (verdicts.distinct_of(bits) if bits else 0 for bits in (raw.ports, raw.peers))
    return verdicts.Limits(packets=raw.packets, octets=raw.octets, syns=raw.syns, ports=ports, peers=peers)


def windows_of(keys: bytes, values: bytes, now_ns: int, window_ns: int) -> pa.RecordBatch:
    """Counters of all that is watched (schema `WINDOWS`), that began at most a window ago.

    `keys`, `values`: one after the other, as the map holds them. A window ends with the first packet after
    `window_ns`, so an entry holds either the window that runs or the whole last one. Who looks twice a window and takes
    what is older than half of one sees each once.
    """
    rows = np.frombuffer(values, _state_type())
    age = now_ns - rows["from_ns"].astype(np.int64)
    fresh = (rows["from_ns"] > 0) & (age >= 0) & (age <= window_ns)
    raw = np.frombuffer(keys, np.dtype((np.void, KEY_OCTETS)))[fresh]
    rows, elapsed = rows[fresh], age[fresh].astype(np.uint64)
    columns = [pa.array([bytes(key) for key in raw], pa.binary(KEY_OCTETS)), pa.array(elapsed)]
    columns += [pa.array(rows[name].astype(np.uint64)) for name in ("packets", "octets", "syns")]
    columns += [pa.array(_distinct(rows[name])) for name in ("ports_set", "peers_set")]
    return pa.RecordBatch.from_arrays(columns, schema=WINDOWS)


def _state_type() -> np.dtype[np.void]:
    """`struct lm_watch_state` for numpy, by the layout that the test compares with the kernel's."""
    fields = [getattr(layouts.WatchState, name) for name in _FIELDS]
    parts: dict[str, Any] = {
        "names": list(_FIELDS),
        "formats": [f"u{field.size}" for field in fields],
        "offsets": [field.offset for field in fields],
        "itemsize": ctypes.sizeof(layouts.WatchState),
    }
    made: np.dtype[np.void] = np.dtype(parts)  # type: ignore[call-overload]
    return made


def _distinct(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint64]:
    """`verdicts.distinct_of` for many."""
    clear = np.maximum(layouts.SKETCH_BITS - bits.astype(np.int64), 1)
    distinct = layouts.SKETCH_BITS * np.log(layouts.SKETCH_BITS / clear)
    told: npt.NDArray[np.uint64] = np.rint(distinct).astype(np.uint64)
    return told
