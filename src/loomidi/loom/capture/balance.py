"""The kernel's part of the loss balance.

Called by `loomidi balance`. In: the name of an interface with a pinned shield. Out: `Balance`, which says of each
equation whether it holds. An equation whose sides cannot be read at the same instant holds when the later reading is
not
smaller.
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
    interface = _interface_packets(shield.name)
    dropped = sum(counters[name][0] for name in _DROPS)
    received = sum(packets for packets, _ in counters.values())
    lost = counters["overflow_lost"][0]
    checks = (
        Check(f"entries that exist dropped {entries_before:,}, the counters {dropped:,}", entries_before <= dropped),
        Check(f"read the other way round: {in_entries:,} in entries", _caught_up(in_entries, shield)),
        Check(f"{shield.name} received {interface:,}, the shield saw {received:,} of them", received <= interface),
        Check(f"no passed packet is missing from the flow records (lost {lost:,})", lost == 0),
    )
    parts = tuple((name, packets) for name, (packets, _) in counters.items() if packets)
    return Balance(shield.name, shield.rung, received, parts, checks)


def _caught_up(in_entries: int, shield: KernelShield) -> bool:
    """A packet is counted in its entry first, then in the counters: read later, they must hold at least as many."""
    return in_entries <= sum(shield.counters()[name][0] for name in _DROPS)


def _interface_packets(interface: str) -> int:
    """rx_packets since the interface was made, so a bound only: it also counts what came before the shield."""
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_packets").read_text(encoding="ascii"))
