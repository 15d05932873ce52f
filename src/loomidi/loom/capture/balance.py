"""The kernel's part of the loss balance.

Called by `loomidi balance`. In: the name of an interface with a pinned shield. Out: `Balance`, which says of each equation
whether it holds. An equation whose sides cannot be read at the same instant holds when the later reading is not smaller.
"""

import dataclasses
from pathlib import Path
from typing import Any

from loomidi.loom.capture.opening import reopen
from loomidi.loom.capture.xdp.kernel import KernelShield

_DROPS = ("drop_tuple", "drop_host", "drop_cidr", "drop_rate")


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One equation."""

    says: str
    holds: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Balance:
    """Where the packets of one interface went, since its shield was attached."""

    interface: str
    rung: str
    received: int
    parts: tuple[tuple[str, int], ...]
    checks: tuple[Check, ...]

    @property
    def adds_up(self) -> bool:
        """Whether every equation holds."""
        return all(check.holds for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        checks = [dataclasses.asdict(check) for check in self.checks]
        return {
            "interface": self.interface,
            "rung": self.rung,
            "received": self.received,
            "parts": dict(self.parts),
            "checks": checks,
            "adds_up": self.adds_up,
        }


def balance_of(interface: str) -> Balance:
    """Read the chain. Raises EnvironmentLacks when no shield is pinned there."""
    with reopen(interface) as shield:
        return _read(shield)


def _read(shield: KernelShield) -> Balance:
    entries_before = sum(state.dropped for state in shield.entries())
    counters = shield.counters()
    in_entries = sum(state.dropped for state in shield.entries())
    received_by_interface = _interface_packets(shield.name)
    dropped = sum(counters[name][0] for name in _DROPS)
    received = sum(packets for packets, _ in counters.values())
    lost = counters["overflow_lost"][0]
    checks = (
        Check(f"drops in the counters ({dropped:,}) are at least those of the entries that still exist ({entries_before:,})", dropped >= entries_before),
        Check(f"no more drops in the entries ({in_entries:,}) than in the counters and since", _close(in_entries, dropped, shield)),
        Check(f"the interface received ({received_by_interface:,}) at least what the shield saw ({received:,})", received_by_interface >= received),
        Check(f"no passed packet is missing from the flow records (overflow_lost {lost:,})", lost == 0),
    )
    parts = tuple((name, packets) for name, (packets, _) in counters.items() if packets)
    return Balance(shield.name, shield.rung, received, parts, checks)


def _close(in_entries: int, dropped: int, shield: KernelShield) -> bool:
    """A packet is counted in its entry first: read again, the counters must have caught up."""
    if in_entries <= dropped:
        return True
    now = sum(shield.counters()[name][0] for name in _DROPS)
    return in_entries <= now


def _interface_packets(interface: str) -> int:
    """rx_packets since the interface was made, so a bound only: it also counts what came before the shield."""
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_packets").read_text(encoding="ascii"))
