"""Tuning up to the plan: counters of the kernel -> what is usual -> proposals -> plans that every guard has judged.

Called by `loomidi tune` and by `services.incidents`. In: a shield that counts, captures that somebody vouches for, a
policy. Out: `Proposed`, and proposals as a file. Nothing is changed from here: that is `enforcing`. Steps, repeated by
number in the code:

    1 look at the counters twice a window   2 learn what is usual, unless attacked
    3 propose within bounds                 4 plan and ask every guard
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts import FoldSpec, InputError, Plan, Verdict
from loomidi.contracts.records import Finding
from loomidi.garden.graph import host_id, service_id
from loomidi.ionic.decide import Decider
from loomidi.ionic.documents import read_record
from loomidi.ionic.enforcer import Bounds, Standing, Tuning, UsualWindows, tuned
from loomidi.ionic.enforcer.learning import COUNTERS, F64
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.own_limits import Watched, key_of, watched_of
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.capture.twin import ETHERNET, TwinSettings, TwinShield, frames
from loomidi.services.fast.waking import waking
from loomidi.services.folds.planning import decider_over

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Proposed:
    """One change with what the guards say of it."""

    tuning: Tuning
    plan: Plan
    verdicts: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        """Every guard allows it."""
        return bool(self.verdicts) and all(verdict.allow is True for verdict in self.verdicts)


class Tuner:
    """Learns from one shield and proposes for it. Not thread-safe."""

    def __init__(self, shield: TableShield, bounds: Bounds, learned: UsualWindows | None = None) -> None:
        self._shield, self._bounds = shield, bounds
        self.learned = learned or UsualWindows(bounds)

    @property
    def window_s(self) -> float:
        """Length of the short windows; 1 when nothing is counted."""
        return self._shield.tables.control.window_ns / 1e9 or 1.0

    def look(self, *, attacked: bool) -> None:
        """1 and 2: twice a window. `attacked`: whether a finding is open that nobody has called a mistake."""
        window_ns = self._shield.tables.control.window_ns
        now_ns = self._shield.tables.now_ns() + self._shield.offset_ns
        own = {key_of(one.watched): _row(one.limits) for one in self._shield.own_limits() if one.live}
        self.learned.observe(self._shield.windows(), now_ns, window_ns, attacked=attacked, own=own)

    def tunings(self) -> list[Tuning]:
        """3: what is worth changing, the first learned first."""
        window_ns = self._shield.tables.control.window_ns
        now_ns = self._shield.tables.now_ns() + self._shield.offset_ns
        standing = standings(self._shield, self.learned.known(), now_ns)
        made = (tuned(self.learned, key, one, self._bounds, (now_ns, window_ns)) for key, one in standing.items())
        return [tuning for tuning in made if tuning is not None]


def standings(shield: TableShield, keys: Iterable[bytes], now_ns: int) -> dict[bytes, Standing]:
    """The thresholds in force for each of them; what has no entity id of its own (ICMP) is left out."""
    own = {one.watched: one for one in shield.own_limits() if one.live}
    watch = shield.watching()
    found = {}
    for key in keys:
        watched = watched_of(key)
        if watch is None or (watched.kind == "service" and not watched.port):
            continue
        mine = own.get(watched)
        limits = mine.limits if mine else watch.source if watched.kind == "source" else watch.service
        left_s = (mine.expires_ns - now_ns) / 1e9 if mine else 0.0
        found[key] = Standing(entity(watched), watched.kind, dataclasses.asdict(limits), mine is not None, left_s)
    return found


def entity(watched: Watched) -> str:
    """The id under which findings and plans name it."""
    if watched.kind == "source":
        return host_id(watched.address)
    return service_id(watched.address, watched.port, watched.protocol)


def learn_from(captures: Sequence[str], bounds: Bounds, shield: TwinShield | None = None) -> tuple[Tuner, TwinShield]:
    """1 and 2 over captures of normal traffic, through the twin: the kernel's own counters, at the captures' own pace.

    Whoever names the captures vouches that nothing in them is an attack. Raises InputError when they hold no frame.
    """
    shield = shield or TwinShield("capture", TwinSettings(watch=waking(), accounting=True))
    tuner, due_ns, count = Tuner(shield, bounds), 0, 0
    half_ns = shield.tables.control.window_ns // 2
    for frame in (each for capture in captures for each in frames(capture) if each.link == ETHERNET):
        if due_ns and frame.at_ns >= due_ns:
            shield.move_to(due_ns)
            tuner.look(attacked=False)
            shield.suspects(0.0)
            list(shield.drain())
        if frame.at_ns >= due_ns:
            due_ns = frame.at_ns - frame.at_ns % half_ns + half_ns
        shield.process(frame.octets, frame.at_ns, frame.wire_octets)
        count += 1
    if not count:
        raise InputError(f"{', '.join(captures)}: no Ethernet frame to learn from; name captures of normal traffic")
    tuner.learned.settle_all()
    return tuner, shield


def judged(tunings: Iterable[Tuning], decider: Decider) -> Iterator[Proposed]:
    """4: a plan for each, with every guard's answer. Nothing is touched."""
    for tuning in tunings:
        plan = decider.plan(tuning.finding, tuning.fold)
        yield Proposed(tuning, plan, decider.judge(plan))


def decider_at(now_ns: int, protected: Sequence[str] = ()) -> Decider:
    """Guards for proposals of captures: mode shadow, at the time at which the captures end."""
    return decider_over(None, protected, ManualClock(now_ns))


def write_proposals(path: Path, proposed: Sequence[Proposed]) -> None:
    """The changes as a document that `read_proposals` takes."""
    rows = [{"finding": one.tuning.finding.as_dict(), "fold": one.tuning.fold.as_dict()} for one in proposed]
    path.write_text(json.dumps({"version": FORMAT, "proposals": rows}, indent=1) + "\n", encoding="utf-8")


def read_proposals(path: Path) -> list[tuple[Finding, FoldSpec]]:
    """What `write_proposals` wrote. Raises InputError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != FORMAT:
            raise ValueError(f"version {document['version']}, {FORMAT} is read here")
        rows = document["proposals"]
        return [(read_record(Finding, r["finding"], "finding"), read_record(FoldSpec, r["fold"], "fold")) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no proposals of `loomidi tune propose`: {error}; make them anew") from error


def _row(limits: Any) -> F64:
    return np.array([getattr(limits, name) for name in COUNTERS], float)
