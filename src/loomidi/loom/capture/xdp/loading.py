"""From the object file to loaded maps and one program: sizes and constants first, then load, then the flow tables.

Called by `attaching`. In: `ShieldSettings`. Out: `Loaded`, which owns descriptors. Leaves attaching to `attaching`.
"""

import ctypes
import dataclasses
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.loom.capture import layouts, native, verdicts
from loomidi.loom.capture.xdp import bpf, libbpf
from loomidi.loom.flows.settings import MeterSettings

XDP = "lm_shield_xdp"
TC = "lm_shield_tc"
_FRAGS = 1 << 5  # BPF_F_XDP_HAS_FRAGS
_PERCPU = (5, 6)  # hash, array
_LEAST_FLOWS = 64
_FLOWS = MeterSettings()
_FINGERPRINT = 8  # octets


@dataclasses.dataclass(frozen=True, slots=True)
class ShieldSettings:
    """Sizes and habits of one shield, set before load."""

    max_flows: int = 65_536
    # Flows of one drain interval, over all CPUs, each CPU its share; about 0.8 KB each, twice. Beyond: the ring.
    max_entries: int = 65_536
    # Verdict entries per table (5-tuple, host, CIDR).
    max_watched: int = 65_536
    # Sources and services with short-window counters; the least recently used ones make room.
    record_ring: int = 8 << 20
    # Octets, a power of two: flows that did not fit or were split, until the next drain; about 11 k.
    event_ring: int = 256 << 10
    # Octets, a power of two: suspects; about 1,400.
    accounting: bool = True
    # Flow records. Off: verdicts and counters only, for a shield that nobody drains.
    watch: verdicts.Watch | None = verdicts.DEFAULT_WATCH
    # Thresholds of suspects; None: no short-window counters.
    inner: bool = False
    # Judge and account what is inside VXLAN and Geneve.
    flows: MeterSettings = _FLOWS
    # When flows end.
    clock_from_meta: bool = False
    # Tests only: time and length come with each frame.

    def __post_init__(self) -> None:
        """Raises UsageError for sizes that the kernel would refuse."""
        for name in ("record_ring", "event_ring"):
            octets = getattr(self, name)
            if octets < 4096 or octets & (octets - 1):
                raise UsageError(f"{name} of {octets} octets: use a power of two from 4096")
        if self.max_flows < 1 or self.max_entries < 1 or self.max_watched < 1:
            raise UsageError("table sizes start at 1")


@functools.cache
def possible_cpus() -> int:
    """CPUs that may ever be online: per-CPU values and flow tables are laid out for them."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return max(int(part.split("-")[-1]) for part in text.split(",")) + 1


class Loaded:
    """Maps, flow tables and (when loaded here) the program of one shield. Owns its descriptors."""

    def __init__(self, maps: dict[str, bpf.Map], tables: list[bpf.Map], program: int = -1) -> None:
        self.maps = maps
        self.tables = tables  # slot table * cpus + cpu
        self.program = program

    def close(self) -> None:
        """Let go of everything."""
        for each in (*self.maps.values(), *self.tables):
            each.close()
        if self.program >= 0:
            os.close(self.program)
            self.program = -1

    def named(self) -> Iterator[tuple[str, int]]:
        """(name, descriptor) of all that is pinned."""
        yield from ((name, each.fd) for name, each in self.maps.items())
        yield from ((f"{layouts.FLOWS}_{slot}", each.fd) for slot, each in enumerate(self.tables))


def wrap(fd: int) -> bpf.Map:
    """A map object for a descriptor; per-CPU values are one after the other, each padded to 8."""
    kind, key, value, _ = bpf.map_info(fd)
    if kind in _PERCPU:
        value = (value + 7) // 8 * 8 * possible_cpus()
    return bpf.Map(fd, key, value)


def load(program: str, settings: ShieldSettings) -> Loaded:
    """Load one program with its maps. Raises EnvironmentLacks with the kernel's reason."""
    try:
        return _load(program, settings, frags=program == XDP)
    except EnvironmentLacks:
        if program != XDP:
            raise
        return _load(program, settings, frags=False)  # before 5.18


def _load(program: str, settings: ShieldSettings, *, frags: bool) -> Loaded:
    path = native.FOLDER / ("shield_inner.bpf.o" if settings.inner else "shield.bpf.o")
    cpus = possible_cpus()
    with libbpf.Object(str(path)) as opened:
        opened.only(program, _FRAGS if frags else 0)
        opened.resize(
            {
                layouts.FLOWS: 2 * cpus,
                **dict.fromkeys((layouts.TUPLES, layouts.HOSTS, layouts.CIDRS), settings.max_entries),
                layouts.WATCH: settings.max_watched,
                layouts.EVENTS: settings.event_ring,
                layouts.RECORDS: settings.record_ring,
            }
        )
        opened.constants(bytes(layouts.Tunables(settings.clock_from_meta, frags, cpus, seed=secrets.randbits(64))))
        opened.load()
        maps = {name: wrap(fd) for name, fd in opened.maps(layouts.MAPS).items()}
        loaded = Loaded(maps, [], opened.program(program))
    try:
        _fill(loaded, settings, cpus)
    except OSError as error:
        loaded.close()
        raise EnvironmentLacks(
            f"flow tables for {settings.max_flows} flows: {error.strerror}; lower --max-flows"
        ) from error
    return loaded


def _fill(loaded: Loaded, settings: ShieldSettings, cpus: int) -> None:
    """One hash map per CPU and set: written by that CPU alone, so neither locked nor kept once per CPU and flow."""
    if not settings.accounting:
        return
    share = max(_LEAST_FLOWS, -(-settings.max_flows // cpus)) if cpus > 1 else settings.max_flows
    for slot in range(2 * cpus):
        table = bpf.Map.create(layouts.FLOWS, _FINGERPRINT, ctypes.sizeof(layouts.Record), share)
        loaded.tables.append(table)
        loaded.maps[layouts.FLOWS].update(slot.to_bytes(4, "little"), table.fd.to_bytes(4, "little"))
