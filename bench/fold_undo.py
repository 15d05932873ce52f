"""Whatever goes wrong, what folds did is taken back: random folds on a real lab, each amid a fault, then compared.

Pods and workloads on two nodes talk without pause, agents and operator run as they are deployed. Folds of every kind
that has a way back are proposed, twenty at a time on different targets; each meets, at a random moment, one of: a busy
API, others who write in between, dropped watches, an admission webhook that does not answer, SIGKILL of the operator
or of a node's agent, a node that loses its power, a jump of the operator's clock. Each ends by its time or is released.
After every round all that folds can touch is compared with what it was, no mark and no entry in any kernel may be
left, and every flow must have answers again. A fold counts once it was in force, and met its fault before its end.

    python -m bench.fold_undo              # 200 folds, some twenty minutes; needs root and the lab's build
    python -m bench.fold_undo --short      # 20
"""

import argparse
import concurrent.futures as cf
import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

from bench.undo import states
from bench.undo.defending import HOME, Defence, establish
from bench.undo.draws import FAULTS, ROUND, Draw, drawn, fold_of
from bench.undo.faults import Faults
from bench.undo.populations import SPACE, Population, until
from loomidi.contracts import BlastRadius, FoldKind, LoomidiError, Mode
from loomidi.fold.asking import Request, asked
from loomidi.fold.operator.views import DENY, FOLDS, RELEASE, View
from loomidi.fold.resources import fold_object
from loomidi.ionic.documents import plan_id
from loomidi_lab.cluster import Lab, UpSettings, down, up

NAME = "foldundo"
OUT = Path(__file__).resolve().parents[1] / ".work" / "fold-undo.json"
_OVER_S, _LATE_S, _SETTLED_S = 420.0, 120.0, 90.0
_LOOK_S = 0.3  # between two looks at the Folds
_MOST_ROUNDS = 3  # times as many as are needed when all count
_RADIUS = BlastRadius(peers=20, flows=200, packets=2000, octets=64_000, share_of_octets=0.1)  # the pipeline measures it
Say = Callable[[str], object]


@dataclasses.dataclass(slots=True)
class Folded:
    """How one fold went."""

    draw: Draw
    name: str = ""
    met: str = ""  # its phase when its fault began; empty: it was over before
    held: float = inf  # since when it is in force, by the monotonic clock
    end: float = inf  # when it is to end
    until_ns: int = 0  # when the operator ends it
    released: bool = False  # by us
    proposed: float = inf  # by the monotonic clock, as are:
    over_at: float = inf
    steps: tuple[str, ...] = ()  # of its receipts
    phase: str = ""
    message: str = ""

    @property
    def active(self) -> bool:
        """Whether it was in force and verified."""
        return "verified" in self.steps

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return self.phase in ("Released", "RolledBack", "Superseded", "Expired", "Denied")

    @property
    def undone(self) -> bool:
        """Whether it says itself that it was taken back."""
        return self.over and self.steps[-1:] in (("undone",), ("expired",))

    @property
    def counts(self) -> bool:
        """In force, and its fault came before its end."""
        return self.active and bool(self.met)


class Run:
    """Rounds on one lab."""

    def __init__(self, people: Population, faults: Faults, defence: Defence, seed: int, say: Say) -> None:
        self.lab, self.people, self.faults, self.defence = people.lab, people, faults, defence
        self.seed, self.say = seed, say
        self.folded: list[Folded] = []
        self.differences: list[str] = []
        self.flows, self.flows_back = 0, 0  # looked at after rounds, and of those answered
        self.before = states.state(self.lab)
        self._lock, self._list, self._listed_at = threading.Lock(), dict[str, Any](), -inf

    def round(self, number: int) -> None:
        """Propose, hurt, wait, compare."""
        began, round_ = time.monotonic(), [Folded(draw) for draw in drawn(self.seed, number)]
        with cf.ThreadPoolExecutor(2 * ROUND) as pool:
            lives = [pool.submit(self._live, one, pool) for one in round_]
            for future in [hurt.result() for hurt in lives]:
                if future is not None:
                    future.result()
        self.folded += round_
        folding = time.monotonic() - began
        found = self._compared(round_)
        self.differences += [f"round {number}: {line}" for line in found]
        comparing, counted = time.monotonic() - began - folding, sum(one.counts for one in round_)
        told = f"{len(round_)} folds, {counted} count, {sum(one.undone for one in round_ if one.counts)} of them undone"
        self.say(f"round {number}: {told}, {len(found)} differences, {folding:.0f} s and {comparing:.0f} s to compare")
        for line in (*(f"does not count: {_told(one)}" for one in round_ if not one.counts), *found):
            self.say(f"  {line}")

    # -- one fold ----------------------------------------------------------------------------------------------------

    def _live(self, one: Folded, pool: cf.Executor) -> "cf.Future[None] | None":
        """From its proposal to its end; its fault, at its moment."""
        time.sleep(one.draw.start_s)
        self._propose(one)
        began = one.proposed = time.monotonic()
        hurt = None
        while not one.over and time.monotonic() - began < _OVER_S:
            now = time.monotonic()
            if hurt is None and now >= self._due(one, began):
                one.met = one.phase or "none"
                hurt = pool.submit(self.faults.meet, one.draw)
            if one.end == inf and one.active:
                one.held, one.end = now, self._ends(one, now)
            late = now - began > one.draw.lasts_s + _LATE_S
            if not one.released and (late or (one.draw.ends == "release" and now >= one.end)):
                one.released = self._release(one, "it is late" if late else "the bench says so")
            time.sleep(_LOOK_S)
            self._look(one)
        one.over_at = time.monotonic() if one.over else inf
        return hurt

    @staticmethod
    def _due(one: Folded, began: float) -> float:
        """When its fault comes, by the monotonic clock."""
        return {"begin": began, "held": one.held, "end": one.end}[one.draw.moment] + one.draw.fault_s

    @staticmethod
    def _ends(one: Folded, now: float) -> float:
        """When it ends, as far as can be told."""
        left_s = (one.until_ns - time.time_ns()) / 1e9
        return now + (left_s if one.draw.ends == "ttl" else one.draw.lasts_s)

    def _propose(self, one: Folded) -> None:
        """Post it, until the API server has taken it."""
        request = Request("bench", f"{one.draw.name} amid {one.draw.fault}", mode=Mode.AUTONOMOUS, lasts_s=1200.0)
        plan = asked(fold_of(one.draw, self.people.pods), request, time.time_ns())
        plan = dataclasses.replace(plan, blast_radius=_RADIUS)
        one.name = plan_id(plan)
        plan = dataclasses.replace(plan, id=one.name)
        body = fold_object(plan, self._space(one), policy=SPACE)
        until(lambda: self._posted(one, body), f"{one.draw.name} is taken", 60)

    def _posted(self, one: Folded, body: dict[str, Any]) -> bool:
        with contextlib.suppress(LoomidiError):
            self.lab.api.post(self._path(one).rpartition("/")[0], body)
        return self.lab.api.exists(self._path(one))

    def _release(self, one: Folded, why: str) -> bool:
        """What has not begun by then is denied."""
        with contextlib.suppress(LoomidiError):
            self.lab.api.patch(self._path(one), {"metadata": {"annotations": {RELEASE: why, DENY: why}}})
            return True
        return False

    def _look(self, one: Folded) -> None:
        if (obj := self._listed().get(one.name)) is not None:
            view = View(obj)
            status, one.until_ns = view.status, view.at("until")
            one.phase, one.message = str(status.get("phase", "")), str(status.get("message", ""))
            one.steps = tuple(str(receipt["step"]) for receipt in status.get("receipts") or ())

    def _listed(self) -> dict[str, Any]:
        """All Folds, asked for once for everybody: twenty who each ask keep the API and our proxy from their work."""
        with self._lock:
            if time.monotonic() - self._listed_at >= _LOOK_S:
                with contextlib.suppress(LoomidiError):
                    self._list = {obj["metadata"]["name"]: obj for obj in self.lab.api.list(FOLDS)}
                self._listed_at = time.monotonic()
            return self._list

    def _space(self, one: Folded) -> str:
        return HOME if one.draw.kind is FoldKind.CORDON else SPACE

    def _path(self, one: Folded) -> str:
        return f"/apis/loomidi.io/v1alpha1/namespaces/{self._space(one)}/folds/{one.name}"

    # -- after a round -----------------------------------------------------------------------------------------------

    def _compared(self, round_: list[Folded]) -> list[str]:
        """Everything that is not as it was: 1 Folds   2 what ran   3 objects and marks   4 kernels   5 flows."""
        # 1 Folds
        found = [f"not over: {_told(one)}" for one in round_ if not one.over]
        # 2 what ran
        found += self.defence.dead()
        # 3 objects and marks, once what rolls has rolled and the nodes are back
        self.faults.quiet()
        try:
            self.people.ready(_SETTLED_S)
        except TimeoutError as error:
            found.append(str(error))
        found += self._settled(lambda: states.differences(self.before, states.state(self.lab)))
        found += self._settled(lambda: states.marks(self.lab))
        # 4 kernels
        found += self._settled(lambda: states.entries(self.lab))
        # 5 flows
        flows, silent = self.people.silent()
        self.flows, self.flows_back = self.flows + flows, self.flows_back + flows - len(silent)
        found += [f"no answers: {flow}" for flow in silent]
        if found:
            self.before = states.state(self.lab)  # what differs is told once
        self._forget(round_)
        return found

    @staticmethod
    def _settled(asked: Callable[[], list[str]], seconds: float = 30.0) -> list[str]:
        """What is still there after that time: controllers and agents need a moment."""
        end = time.monotonic() + seconds
        while (found := asked()) and time.monotonic() < end:
            time.sleep(1.0)
        return found

    def _forget(self, round_: list[Folded]) -> None:
        """Folds that are over go."""
        for one in round_:
            if one.over:
                self.lab.api.delete(self._path(one))


def figures(run: Run, seconds: float) -> dict[str, Any]:
    """What is judged."""
    counted = [one for one in run.folded if one.counts]
    return {
        "folds": len(counted),
        "undone": sum(one.undone for one in counted),
        "differences": run.differences,
        "flows": run.flows,
        "flows_back": run.flows_back,
        "drawn": len(run.folded),
        "never_active": [_told(one) for one in run.folded if not one.active],
        "missed": sum(one.active and not one.met for one in run.folded),
        "faults": dict(run.faults.made),
        "requests": dict(run.faults.proxy.met),
        "in_force_after_s": _spread([one.held - one.proposed for one in counted]),
        "over_after_its_end_s": _spread([one.over_at - one.end for one in counted]),
        "seconds": round(seconds),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    """What half of them and all of them took; those that never came are among the differences."""
    known = sorted(one for one in seconds if abs(one) < inf)
    return {"median": round(statistics.median(known), 1), "most": round(known[-1], 1)} if known else {}


def _told(one: Folded) -> str:
    return f"{one.draw.name} amid {one.draw.fault}: {one.phase}, {one.message[:160]}"


def table(run: Run) -> Iterator[str]:
    """Kind by fault."""
    yield f"{'kind':20} {'fault':15} folds in force denied rolled back  over"
    rows = sorted({(one.draw.kind.value, one.draw.fault) for one in run.folded})
    for kind, fault in [*rows, *(("all", fault) for fault in FAULTS), ("all", "all")]:
        these = [one for one in run.folded if kind in (one.draw.kind.value, "all") and fault in (one.draw.fault, "all")]
        phases = Counter(one.phase for one in these)
        active, over = sum(one.active for one in these), sum(one.over for one in these)
        denied = phases["Denied"] + phases["Expired"]
        yield f"{kind:20} {fault:15} {len(these):5} {active:8} {denied:6} {phases['RolledBack']:11} {over:5}"


@contextlib.contextmanager
def laboratory(name: str, say: Say) -> Iterator[Lab]:
    """The lab of that name where it is up, else one of our own."""
    try:
        lab, ours = Lab.open(name), False
    except LoomidiError:
        down(name)
        up(UpSettings(name=name), say)
        lab, ours = Lab.open(name), True
    try:
        yield lab
    finally:
        lab.close()
        if ours:
            down(name)


def carried_out(lab: Lab, given: argparse.Namespace, say: Say) -> Run:
    """Set up, fold until as many count as are wanted."""
    with tempfile.TemporaryDirectory(prefix="fold-undo-") as folder, contextlib.ExitStack() as stack:
        establish(lab)
        people, faults = Population(lab), Faults(lab, given.seed)
        stack.callback(people.leave)
        stack.callback(faults.close)
        people.settle()
        faults.defence = defence = Defence(lab, Path(folder), faults.proxy.url)
        stack.callback(defence.end)
        defence.begin()
        flows, silent = people.silent()
        if silent:
            told = f"{len(silent)} of {flows} flows, such as {silent[0]}"
            raise LoomidiError(f"no answers before anything was folded: {told}")
        run = Run(people, faults, defence, given.seed, say)
        say(f"{len(people.pods())} pods, {flows} flows, {len(run.before)} objects compared")
        last = time.monotonic() + 60 * given.minutes
        most = _MOST_ROUNDS * max(1, given.folds // ROUND)
        for number in range(1, most + 1):
            run.round(number)
            if sum(one.counts for one in run.folded) >= given.folds or time.monotonic() >= last:
                break
        return run


def main() -> int:
    """Exit code 1 on any difference, when one that counts was not undone, or when too few count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folds", type=int, default=200, metavar="N", help="that count; 200")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--short", action="store_true", help="20 folds")
    parser.add_argument("--minutes", type=float, default=inf, metavar="M", help="after which no round begins")
    parser.add_argument("--name", default=NAME, help="which lab; one that is up is used, else one is made")
    parser.add_argument("--json", type=Path, default=OUT, metavar="FILE")
    given = parser.parse_args()
    given.folds = 20 if given.short else given.folds
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    try:
        with laboratory(given.name, say) as lab:
            run = carried_out(lab, given, say)
    except (LoomidiError, TimeoutError) as error:
        print(f"fold_undo: {error}")
        return 2
    found = figures(run, time.monotonic() - began)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1))
    print("\n".join(table(run)))
    for line in (*found["never_active"], *run.differences):
        print(f"  {line}")
    verdict = f"{found['undone']} of {found['folds']} undone, {len(run.differences)} differences"
    print(f"{verdict}, {found['flows_back']} of {found['flows']} flows back, seed {given.seed}, {found['seconds']} s")
    return int(bool(run.differences) or found["undone"] < found["folds"] or found["folds"] < given.folds)


if __name__ == "__main__":
    sys.exit(main())
