"""Settings of the flow meter.

Made by verbs and services, read by `loom.flows` and the kernel loader. In: seconds and counts. Out: the C struct.
"""

import dataclasses
import math

from loomidi.contracts.errors import UsageError
from loomidi.loom.capture import native

_FLOWS_MOST = 1 << 28  # 32-bit slot numbers, with room to double


@dataclasses.dataclass(frozen=True, slots=True)
class MeterSettings:
    """When a flow ends and how many there may be."""

    active_s: float = 120.0
    # A flow longer than this is cut and goes on as a new record with the same direction: findings need not wait longer.
    idle_s: float = 60.0
    # Silence longer than this ends a flow. Most TCP retransmissions come sooner.
    linger_s: float = 5.0
    # After FIN in both directions or RST, packets this long after still belong to the flow (last ACKs).
    activity_s: float = 5.0
    # Silence longer than this ends an activity period within a flow (columns active_* and idle_*).
    max_flows: int = 131072
    # Live at once, about 0.8 KB each. Beyond it the flow seen least recently is ended as `evicted`, and counted.
    breathe_s: float = 0.2
    # An interface on which no flow ends gives an empty batch this often; with many of them, seldom is cheaper.
    batch_rows: int = 8192
    # Rows of one Arrow batch.
    unanswered_s: float = 0.0
    # Silence that ends a flow of which one side was never heard; 0: `idle_s`. Live, a scan is told that much sooner.
    ring_mib: int = 32
    # Of an interface's socket, locked memory: what arrives while we are busy. Beyond it the kernel drops and counts.
    snap_octets: int = 0
    # Kept of each frame of an interface, 0: all. Headers must fit; a short one lets the ring hold far more packets.
    inner: bool = True
    # Look inside VXLAN and Geneve: the inner flow is reported, with the outer tunnel's id.
    seed: int = 0
    # Of the table's hash; 0: random, so that nobody can choose colliding flows. Records do not depend on it.

    def __post_init__(self) -> None:
        """Raises UsageError for values that make no sense."""
        for name in ("active_s", "idle_s", "linger_s", "activity_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= 1e9):
                raise UsageError(f"{name.removesuffix('_s')} timeout {value:g} s: use a number of seconds above 0")
        if not (math.isfinite(self.unanswered_s) and 0 <= self.unanswered_s <= 1e9):
            raise UsageError(f"unanswered timeout {self.unanswered_s:g} s: use a number of seconds, or 0")
        if not 0.05 <= self.breathe_s <= 60:
            raise UsageError(f"breathe every {self.breathe_s:g} s: use 0.05 to 60")
        if not 1 <= self.ring_mib <= 1024:
            raise UsageError(f"ring {self.ring_mib} MiB: use 1 to 1024")
        if not (self.snap_octets == 0 or 128 <= self.snap_octets <= 1 << 16):
            raise UsageError(f"snap {self.snap_octets} octets: use 128 to 65536, or 0 for whole frames")
        if not 16 <= self.max_flows <= _FLOWS_MOST:
            raise UsageError(f"max flows {self.max_flows}: use 16 to {_FLOWS_MOST}")
        if not 1 <= self.batch_rows <= 1 << 20:
            raise UsageError(f"batch rows {self.batch_rows}: use 1 to {1 << 20}")

    def native(self) -> native.Settings:
        """As the C library takes it."""
        return native.Settings(
            idle_ns=round(self.idle_s * 1e9),
            active_ns=round(self.active_s * 1e9),
            linger_ns=round(self.linger_s * 1e9),
            activity_ns=round(self.activity_s * 1e9),
            seed=self.seed,
            max_flows=self.max_flows,
            batch_rows=self.batch_rows,
            inner=int(self.inner),
            ring=self.ring_mib << 20,
            unanswered_ns=round(self.unanswered_s * 1e9),
            snap=self.snap_octets,
            breathe_ms=round(self.breathe_s * 1e3),
        )
