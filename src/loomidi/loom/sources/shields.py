"""Links captured by the shield: an XDP or tc program on each, its flow tables drained. What arrives is seen.

Called by `services.agents.agent`. In: filters, settings, identities of shields whose counts are known from before. Out:
the Protocol `capturing.Capture`. A shield that is pinned is taken over as it is, and its flows that nobody had drained
are recovered; others live and die with this process. Links where no program can be are listed in `refused`.
"""

import contextlib
import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, InputError, LoomidiError, UsageError
from loomidi.loom.capture import attach, detach, open_shield, reopen, spaces
from loomidi.loom.capture.layouts import Enabled
from loomidi.loom.capture.xdp.attaching import pins_of
from loomidi.loom.capture.xdp.kernel import KernelShield
from loomidi.loom.capture.xdp.loading import ShieldSettings
from loomidi.loom.flows.accounts import LinkId
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.sources.capturing import Adopted, Taken, Tally, joined, packets_in

_MOST_PROBLEMS = 100
_LEAST_FLOWS, _MANY_FLOWS = 2048, 16_384
_RING, _SMALL_RING = 8 << 20, 1 << 20  # octets, for flows that did not fit
_ENTRIES, _WATCHED = 4096, 64  # verdicts, for `loomidi shield deny` on a pinned one; short windows, which are off
MOST_GONE = 4096  # links that went and are still told of
_IN_FLOWS = ("accounted", "overflowed")  # both become flow records; the second by way of the ring


@dataclasses.dataclass(frozen=True, slots=True)
class ShieldCaptureSettings:
    """How links are shielded for their flows."""

    mode: str = "auto"
    # auto, native, generic or tc: which rung.
    pin: bool = False
    # Leave the program and its tables when we end, so that packets are counted meanwhile.
    max_flows: int = 65_536
    # Of all links and one drain interval, shared out when a link is met, 2,048 at least; 1.6 KB of kernel memory each.
    # Beyond them the ring, then counted as lost.
    meter: MeterSettings = dataclasses.field(default_factory=MeterSettings)
    # When flows end.


@dataclasses.dataclass(slots=True)
class _Shielded:
    """One link with a program of ours, or with one that we found."""

    link: LinkId
    shield: KernelShield
    identity: str  # of its pins; empty: it ends with us
    base: Mapping[str, int]  # what its counters had when they began to count for us
    exported: int = 0
    flows: int = 0
    uncovered: int = 0


class ShieldCapture:
    """Shields on every link that a filter fits. For one thread."""

    def __init__(
        self,
        filters: Sequence[tuple[str, str]],
        settings: ShieldCaptureSettings | None = None,
        known: frozenset[str] = frozenset(),
    ) -> None:
        """`known`: identities of shields whose counts a former agent has told. Raises UsageError without a filter,
        InputError for a namespace that is not there.
        """
        if not filters:
            raise UsageError("nothing to capture; name at least one link, such as eth0 or 'veth*'")
        self.settings = settings or ShieldCaptureSettings()
        self.refused: dict[LinkId, LoomidiError] = {}
        self._filters, self._known = list(filters), known
        self._shielded: dict[LinkId, _Shielded] = {}
        self._gone: dict[str, Tally] = {}  # by name, of links that went
        self._adopted: dict[str, Adopted] = {}
        self._found: list[Taken] = []  # flows of adopted shields and of links that went
        self._problems: list[str] = []
        self._fitting = 0  # most links that were there at once
        self._scan(first=True)

    @property
    def rung(self) -> str:
        """Of all links, or `mixed`."""
        rungs = {one.shield.rung for one in self._shielded.values()}
        return rungs.pop() if len(rungs) == 1 else "mixed" if rungs else "none"

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be shielded or drained."""
        return tuple(self._problems)

    def take(self) -> list[Taken]:
        """Follow the links, drain every table."""
        self._scan()
        taken, self._found = self._found, []
        for one in self._shielded.values():
            taken += self._counted(one, one.shield.drain())
        return taken

    def finish(self) -> list[Taken]:
        """No more flows are begun where the program ends with us; where it stays, it counts on for whoever comes."""
        self._scan()
        taken, self._found = self._found, []
        for one in self._shielded.values():
            if not one.identity:
                _stop_accounting(one.shield)
            taken += self._counted(one, one.shield.flush())
        return taken

    def tallies(self) -> dict[str, Tally]:
        """By name of the link."""
        found = dict(self._gone)
        for one in self._shielded.values():
            name = str(one.link)
            found[name] = joined(found.get(name), self._tally(one))
        return found

    def adopted(self) -> dict[str, Adopted]:
        """Those that were found and are known from before."""
        found, self._adopted = self._adopted, {}
        return found

    def close(self) -> None:
        """Let go; what is pinned stays."""
        for one in self._shielded.values():
            one.shield.close()
        self._shielded.clear()

    # -- links -------------------------------------------------------------------------------------------------------

    def _scan(self, *, first: bool = False) -> None:
        for netns in dict.fromkeys(netns for netns, _ in self._filters):
            if not first and spaces.identity(netns) is None:
                self._retire([link for link in self._shielded if link.netns == netns])
                continue
            try:
                with spaces.inside(netns):
                    self._scan_here(netns)
            except (InputError, EnvironmentLacks) as error:
                if first:
                    raise
                self._complain(str(error))

    def _scan_here(self, netns: str) -> None:
        there = {
            LinkId(netns, one.name, one.index) for one in spaces.links() if one.up and self._wanted(netns, one.name)
        }
        self._retire([link for link in self._shielded if link.netns == netns and link not in there])
        for link in [link for link in self.refused if link.netns == netns and link not in there]:
            del self.refused[link]
        self._fitting = max(self._fitting, len(self._shielded) + len(there - self._shielded.keys()))
        for link in sorted(there - self._shielded.keys() - self.refused.keys()):
            try:
                self._shielded[link] = self._shield(link)
            except LoomidiError as error:
                self.refused[link] = error
                self._complain(f"{link}: {error}")

    def _wanted(self, netns: str, name: str) -> bool:
        return any(netns == space and fnmatch.fnmatchcase(name, pattern) for space, pattern in self._filters)

    def _shield(self, link: LinkId) -> _Shielded:
        """Within its namespace."""
        if pins_of(link.name).is_dir():
            with contextlib.suppress(EnvironmentLacks):  # left by an interface that has gone: a new one is attached
                return self._adopt(link, reopen(link.name))
            detach(link.name)
        share = max(self.settings.max_flows // max(self._fitting, 1), _LEAST_FLOWS)
        settings = ShieldSettings(
            max_flows=share,
            record_ring=_RING if share >= _MANY_FLOWS else _SMALL_RING,
            max_entries=_ENTRIES,
            max_watched=_WATCHED,
            watch=None,
            flows=self.settings.meter,
        )
        if self.settings.pin:
            shield = attach(link.name, self.settings.mode, settings)
            return _Shielded(link, shield, _identity(link.name), {})
        return _Shielded(link, open_shield(link.name, self.settings.mode, settings), "", {})

    def _adopt(self, link: LinkId, shield: KernelShield) -> _Shielded:
        """For a moment no packet is accounted, so that what is in the tables and what was counted can be compared."""
        accounting = bool(shield.tables.control.enabled & Enabled.ACCOUNTING)
        _stop_accounting(shield)
        batches = [batch for batch in shield.flush() if batch.num_rows]
        counts, recovered = _counts(shield), sum(packets_in(batch) for batch in batches)
        if accounting:
            shield.tables.enable(Enabled.ACCOUNTING)
        one = _Shielded(link, shield, _identity(link.name), {})
        one.flows = sum(batch.num_rows for batch in batches)
        self._found += [Taken(str(link), batch) for batch in batches]
        if one.identity in self._known:
            one.base = counts
            self._adopted[str(link)] = Adopted(one.identity, counts, recovered)
        else:
            one.exported, one.uncovered = recovered, counts["accounted"] - recovered
        return one

    def _retire(self, links: Sequence[LinkId]) -> None:
        """Links that have gone: what their tables still hold, and their last counts."""
        for link in links:
            one = self._shielded.pop(link)
            self._found += self._counted(one, one.shield.flush())
            tally, name = self._tally(one), str(link)
            self._gone[name] = joined(self._gone.pop(name, None), tally)
            while len(self._gone) > MOST_GONE:  # they were told when they went
                del self._gone[next(iter(self._gone))]
            one.shield.close()
            if one.identity:
                with contextlib.suppress(LoomidiError, OSError):
                    detach(link.name)

    # -- counting ----------------------------------------------------------------------------------------------------

    def _counted(self, one: _Shielded, batches: Iterator[pa.RecordBatch]) -> list[Taken]:
        taken = []
        try:
            for batch in batches:
                if batch.num_rows:
                    one.exported += packets_in(batch)
                    one.flows += batch.num_rows
                    taken.append(Taken(str(one.link), batch))
        except (LoomidiError, OSError) as error:
            self._complain(f"{one.link}: {error}")
        return taken

    def _tally(self, one: _Shielded) -> Tally:
        now = _counts(one.shield)
        packets = {name: now[name] - one.base.get(name, 0) for name in now}
        packets = {name: value for name, value in packets.items() if value or name in ("received", "accounted")}
        return Tally(
            one.shield.rung,
            packets,
            one.exported,
            one.flows,
            uncovered=one.uncovered,
            base=one.base,
            identity=one.identity,
        )

    def _complain(self, line: str) -> None:
        if line not in self._problems and len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(line)


def _counts(shield: KernelShield) -> dict[str, int]:
    """Packets by reason; what became flow records by whichever way is `accounted`."""
    reasons = {name: packets for name, (packets, _) in shield.counters().items()}
    accounted = sum(reasons.pop(name) for name in _IN_FLOWS)
    return {"received": accounted + sum(reasons.values()), "accounted": accounted, **reasons}


def _stop_accounting(shield: KernelShield) -> None:
    """The next packets are passed and counted as such; a drain after this waits for those under way."""
    shield.tables.control.enabled &= ~Enabled.ACCOUNTING


def _identity(interface: str) -> str:
    """Of the pins: another attachment has another one. Within the link's namespace."""
    found = pins_of(interface).stat()
    return f"{found.st_ino}.{found.st_ctime_ns}"
