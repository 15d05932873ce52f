"""Finding -> pod cut on packets, through the operator, on a lab of real kubelets with 1,000 fake pods beside.

On a lab of its own with Cilium as the network (brought up and taken down here; or `--lab NAME`): pods on both nodes
send numbered datagrams to a peer without pause, 500 a second each, and the peer's kernel says when each arrived. The
operator runs under a service account with the shipped roles, an agent runs in each node. In turns, so that a busy
second of the machine falls on all alike:

  operator     a finding is planned, judged and handed to the proposer as the detectors' thread does it; from right
               before that to the last packet of the pod that arrived. The Fold is released, packets flow again
  cilium       a CiliumNetworkPolicy that denies the pod everything; from sending the request to the last packet
  fast lane    before the operator starts, with the same agents: an order straight to the node's agent, sealed and sent
               as the operator does it; from right before it is sealed to the last packet

The truth lies between the last packet and the next, which was sent 2 ms later and did not arrive: `resolution`. Then
100 Folds are proposed at once, for 100 pods, under a policy that allows ten at a time; how many were in force together
is told by the receipts, and pods that carry the quarantine's label are counted. Requests come from the API server's
audit log, of the rounds of `operator` alone; memory is the operator's high-water mark after all of this. Exit code 1
when a target is missed.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.fold_cut_audit import STAGES, Span, asked, per_fold, stages
from bench.fold_cut_stage import (
    CROWD,
    ENDS,
    FOLDS,
    OPERATOR,
    PER_SECOND,
    POLICIES,
    PROPOSER,
    ROOT,
    SPACE,
    Stage,
    release_of,
    staged,
)
from bench.policy_latency import CILIUM, policy_of, spread
from loomidi.contracts.errors import EnvironmentLacks, LoomidiError
from loomidi.fold.resources.objects import nanoseconds
from loomidi.services.folds.folding import Folding
from loomidi_lab.cluster import Lab, Link, UpSettings, down, tools, up
from loomidi_lab.cluster.clearing import leftovers
from loomidi_lab.cluster.places import place

Object = dict[str, Any]
NAME, FAKE_NODES, FAKE_PODS, MOST_AT_ONCE = "bench", 10, 1000, 10
# Folded are some pods; Cilium's policy is tried on others: a label that was just set and taken away leaves an endpoint
# of Cilium 1.19 with the policies that it knew before, until something else wakes it.
SENDERS, APART = 4, 2
IDLE, REST_S = 0.3, 60.0  # what is called at rest, and how long it is waited for
QUARANTINE = "loomidi.io/quarantine"
FIGURES = ROOT / ".work" / "fold-cut.json"
TARGETS = {  # figure: its limit, in words
    "p50_ms": (150.0, "finding -> cut, p50, ms"),
    "p99_ms": (1000.0, "finding -> cut, p99, ms"),
    "fast_p99_ms": (15.0, "fast lane, order -> cut, p99, ms"),
    "at_once_max": (MOST_AT_ONCE, "Folds in force at once, of all that were proposed at once"),
    "operator_rss_mb": (200.0, "operator, resident at most, MB"),
    "requests_per_fold": (30.0, "requests of a Fold up to the cut, proposer's and operator's"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """One round: from when to when, ns, and how far apart the last packet and the next one are."""

    took: int
    answered: int = 0  # from the API's answer, where there is one


class Bench:
    """The kinds of rounds."""

    def __init__(self, stage: Stage, progress: Callable[[str], object]) -> None:
        self.stage, self.progress = stage, progress
        self.fast: list[Cut] = []
        self.operator: list[Cut] = []
        self.cilium: list[Cut] = []
        self.spans: list[Span] = []
        self.unheard = 0  # datagrams that were sent while their pod was cut by a Fold

    def run_fast(self, rounds: int) -> None:
        """Orders straight to the agents."""
        with contextlib.closing(self.stage.direct()) as agents:
            for number in range(rounds):
                link = self.stage.senders[number % SENDERS]
                address, plan = self.stage.address(link), f"plan-{time.time_ns():016x}"
                self.stage.arrivals.flows(link.address)
                began_ns = time.time_ns()
                order = self.stage.order(link, plan)
                agents.send(address, order)
                last_ns = self.stage.arrivals.silent(link.address)
                self.fast.append(Cut(last_ns - began_ns))
                agents.send(address, release_of(order))
        self.progress(f"{rounds} orders straight to the agents")

    def run(self, folding: Folding, rounds: int, cilium_rounds: int) -> None:
        """In turns."""
        for number in range(rounds):
            link = self.stage.senders[number % SENDERS]
            self._fold(folding, link)
            if number * cilium_rounds // rounds != (number + 1) * cilium_rounds // rounds:
                self._policy(self.stage.senders[SENDERS + len(self.cilium) % APART])
            if number % 20 == 19:
                self.progress(f"{number + 1} rounds")

    def _fold(self, folding: Folding, link: Link) -> None:
        stage = self.stage
        stage.arrivals.flows(link.address)
        finding = stage.finding(SPACE, link.pod)
        found_ns = time.time_ns()
        (name,) = stage.hand_over(folding, [finding])
        last_ns = stage.arrivals.silent(link.address)  # asks nothing of the API server, which is busy with the Fold
        stage.reaches(SPACE, name, "Active")
        before = stage.arrivals.of(link.address)
        stage.note(SPACE, name, "release")
        stage.reaches(SPACE, name, "Released")
        over_ns = time.time_ns()
        stage.arrivals.flows(link.address)
        after = stage.arrivals.of(link.address)
        self.unheard += (after[2] - before[2]) - (after[0] - before[0])
        self.operator.append(Cut(last_ns - found_ns))
        self.spans.append(Span(name, found_ns, last_ns, over_ns))

    def _policy(self, link: Link) -> None:
        stage, chosen = self.stage, {"matchLabels": {"app": link.pod}}
        spec = {"endpointSelector": chosen, "egressDeny": [{"toEntities": ["all"]}]}
        path, policy = policy_of(CILIUM, "deny", spec, SPACE)
        stage.arrivals.flows(link.address)
        began_ns = time.time_ns()
        stage.lab.api.post(path, policy)
        answered_ns = time.time_ns()
        last_ns = stage.arrivals.silent(link.address, 0.5)
        self.cilium.append(Cut(last_ns - began_ns, last_ns - answered_ns))
        stage.lab.api.delete(f"{path}/deny")
        stage.arrivals.flows(link.address)


# -- many at once ------------------------------------------------------------------------------------------------------


def crowded(stage: Stage, folding: Folding, count: int) -> Object:
    """So many Folds proposed at once; what became of them, and that those which were begun are taken back."""
    findings = [stage.finding(CROWD, f"one-{number}") for number in range(count)]
    began_ns = time.time_ns()
    stage.hand_over(folding, findings)
    _settled(stage, count)
    folds, marked = _folds(stage), len(stage.lab.api.list(f"/api/v1/namespaces/{CROWD}/pods", labelSelector=QUARANTINE))
    told = Counter(map(_standing, folds))
    stage.lab.api.patch(f"{POLICIES}/{CROWD}", {"spec": {"brakes": {"pause": {"reason": "the bench has counted"}}}})
    for fold in folds:
        stage.note(CROWD, fold["metadata"]["name"], "release" if _begun_ns(fold) else "deny")
    _until(lambda: all(_phase(one) in ENDS for one in _folds(stage)), "the crowd's Folds are not all over")
    left = len(stage.lab.api.list(f"/api/v1/namespaces/{CROWD}/pods", labelSelector=QUARANTINE))
    ended = _folds(stage)
    return {
        "proposed": len(folds),
        "at_once_max": most_at_once(ended),
        "marked": marked,
        "left": left,
        "standing": dict(told.most_common()),
        "first_s": round((min(map(_begun_ns, filter(_begun_ns, ended))) - began_ns) / 1e9, 2),
        "last_s": round((max(map(_begun_ns, filter(_begun_ns, ended))) - began_ns) / 1e9, 2),
    }


def most_at_once(folds: Sequence[Object]) -> int:
    """By the receipts: from the intent to the end."""
    begun = [fold for fold in folds if _begun_ns(fold)]
    moments = [(_begun_ns(fold), 1) for fold in begun] + [(nanoseconds(fold["status"]["since"]), -1) for fold in begun]
    level = most = 0
    for _, step in sorted(moments):
        level += step
        most = max(most, level)
    return most


def _settled(stage: Stage, count: int) -> None:
    """Until every Fold is in force, at an end, or held by a brake that says so, and stays so for a while."""

    def settled() -> bool:
        found = _folds(stage)
        return len(found) == count and all(_phase(fold) in ("Active", *ENDS) or _held(fold) for fold in found)

    _until(settled, "the crowd's Folds do not settle")
    time.sleep(3.0)
    _until(settled, "the crowd's Folds do not stay settled")


def _until(holds: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{what} within {seconds:g} s; see the operator's log in the lab")
        time.sleep(0.25)


def _folds(stage: Stage) -> list[Object]:
    return stage.lab.api.list(FOLDS.format(CROWD))


def _phase(fold: Object) -> str:
    return str(fold.get("status", {}).get("phase", ""))


def _held(fold: Object) -> str:
    told = fold.get("status", {}).get("conditions") or ()
    return next((one["reason"] for one in told if one["type"] == "Held" and one["status"] == "True"), "")


def _standing(fold: Object) -> str:
    """Its phase, and what holds it there or has ended it."""
    why = _held(fold) or (fold["status"].get("message", "")[:80] if _phase(fold) in ENDS else "")
    return f"{_phase(fold)}{f' ({why})' if why else ''}"


def _begun_ns(fold: Object) -> int:
    receipts = fold.get("status", {}).get("receipts") or ()
    return next((nanoseconds(one["atTime"]) for one in receipts if one["step"] == "intent"), 0)


# -- a run -----------------------------------------------------------------------------------------------------------


def measure(lab: Lab, given: argparse.Namespace, progress: Callable[[str], object]) -> Object:
    """All figures."""
    counts = {"fake": given.fake_pods, "senders": SENDERS + APART}
    with tempfile.TemporaryDirectory(prefix="fold-cut-") as name, staged(lab, Path(name), counts, progress) as stage:
        bench = Bench(stage, progress)
        with stage.agents():
            idle = [at_rest(progress)]
            bench.run_fast(given.rounds)
            with stage.operating(), stage.proposing() as folding:
                idle.append(at_rest(progress))
                offset = lab.api_log.stat().st_size
                cilium_rounds = given.rounds // 3 if lab.network == "cilium" else 0
                bench.run(folding, given.rounds, cilium_rounds)
                requests = asked(lab.api_log, (OPERATOR, PROPOSER), offset)
                stage.crowd(given.at_once)
                progress(f"{given.at_once} Folds at once")
                crowd = crowded(stage, folding, given.at_once)
                rss_mb = stage.rss_mb()
        shares = [found for span in bench.spans if (found := stages(requests, span))]
        up_to = per_fold(requests, bench.spans, whole=False)
        whole = per_fold(requests, bench.spans, whole=True)
    rows = {name: spread([one.took for one in getattr(bench, name)]) for name in ("operator", "fast")}
    if bench.cilium:
        rows["cilium"] = spread([one.took for one in bench.cilium])
        rows["cilium, from the API's answer"] = spread([one.answered for one in bench.cilium])
    return {
        "p50_ms": rows["operator"]["p50_ms"],
        "p99_ms": rows["operator"]["p99_ms"],
        "fast_p99_ms": rows["fast"]["p99_ms"],
        "cilium_p50_ms": rows["cilium"]["p50_ms"] if bench.cilium else None,
        "operator_rss_mb": rss_mb,
        "at_once_max": crowd["at_once_max"],
        "requests_per_fold": round(sum(up_to.values()), 1),
        "requests_per_life": round(sum(whole.values()), 1),
        "rows": rows,
        "unheard": bench.unheard,
        "resolution_ms": round(1000 / PER_SECOND, 1),
        "stages_ms": {name: _middle_ms([one[at] for one in shares]) for at, name in enumerate(STAGES)},
        "staged_rounds": len(shares),
        "requests": up_to,
        "requests_of_a_life": whole,
        "crowd": crowd,
        "fake_pods": given.fake_pods,
        "network": lab.network + (f" {tools.MODULES['cilium'].version}" if lab.network == "cilium" else ""),
        "idle": idle,
        "load": round(os.getloadavg()[0], 1),
    }


def at_rest(progress: Callable[[str], object]) -> float:
    """Wait until a hundred new pods and a thousand fake ones are no more news to the cluster; the idle share then."""
    until, share = time.monotonic() + REST_S, _idle()
    while share < IDLE and time.monotonic() < until:
        share = _idle()
    progress(f"{share:.0%} of the machine idle")
    return round(share, 2)


def _idle(seconds: float = 5.0) -> float:
    """Of all CPUs' time, over a while."""

    def told() -> list[int]:
        with Path("/proc/stat").open() as file:
            return [int(word) for word in file.readline().split()[1:9]]

    before = told()
    time.sleep(seconds)
    passed = [after - first for after, first in zip(told(), before, strict=True)]
    return passed[3] / max(1, sum(passed))


def _middle_ms(times: Sequence[int]) -> float:
    return round(sorted(times)[len(times) // 2] / 1e6, 2) if times else 0.0


def missed(found: Object) -> list[str]:
    """Targets, in words."""
    late = [f"{words}: {found[name]} of {limit}" for name, (limit, words) in TARGETS.items() if found[name] > limit]
    crowd = found["crowd"]
    if crowd["marked"] > MOST_AT_ONCE or crowd["left"]:
        late.append(f"pods in quarantine: {crowd['marked']} at once, {crowd['left']} after all was over")
    return late


def show(found: Object) -> None:
    """The table for people."""
    print(f"{found['network']}, {found['fake_pods']:,} fake pods; {PER_SECOND} datagrams a second from each pod")
    print(f"{'milliseconds':<52} {'p50':>9} {'p90':>9} {'p99':>9} {'max':>9} {'rounds':>7}")
    titles = {
        "operator": "operator: finding -> last packet",
        "fast": "fast lane: order -> last packet",
        "cilium": "CiliumNetworkPolicy: request -> last packet",
        "cilium, from the API's answer": "    from the API's answer",
    }
    for name, row in found["rows"].items():
        figures = " ".join(f"{row[figure]:9.2f}" for figure in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        print(f"{titles[name]:<52} {figures} {row['trials']:7}")
    if found["cilium_p50_ms"] is None:
        print(f"Cilium is not measured: the lab's network is {found['network']}")
    print(f"resolution {found['resolution_ms']:g} ms; {found['unheard']:,} datagrams sent while cut, none arrived")
    total = sum(found["stages_ms"].values()) or 1.0
    print(f"where the time of a Fold goes, medians of {found['staged_rounds']} rounds")
    for name, ms in found["stages_ms"].items():
        print(f"    {name:<48} {ms:9.2f} ms {ms / total:6.0%}")
    totals = f"{found['requests_per_fold']:9g}    {found['requests_per_life']:9g}"
    print(f"{'requests of a Fold, up to the cut and to its end':<52} {totals}")
    for name, count in found["requests_of_a_life"].items():
        print(f"    {name:<48} {found['requests'].get(name, 0):9g}    {count:9g}")
    crowd = found["crowd"]
    print(
        f"{crowd['proposed']} Folds proposed at once: {crowd['at_once_max']} in force at most, allowed {MOST_AT_ONCE}"
    )
    for name, count in crowd["standing"].items():
        print(f"    {name:<48} {count:9}")
    print(f"    begun {crowd['first_s']:g} to {crowd['last_s']:g} s after the first finding; {crowd['left']} left")
    print(f"operator: {found['operator_rss_mb']:g} MB resident at most")
    fast, operator = (f"{share:.0%}" for share in found["idle"])
    print(f"the machine idled {fast} before the orders, {operator} before the Folds; load after all {found['load']}")
    late = missed(found)
    print("\n".join(f"MISSED: {line}" for line in late) if late else "all targets met")


@contextlib.contextmanager
def laboratory(given: argparse.Namespace, progress: Callable[[str], object]) -> Iterator[Lab]:
    """The lab that is named, or one of our own that is gone afterwards."""
    if not given.lab:
        up(UpSettings(name=NAME, network=given.network, fake_nodes=FAKE_NODES, timeout_s=300.0), progress)
    lab = Lab.open(given.lab or NAME)
    try:
        yield lab
    finally:
        lab.close()
        if not given.lab:
            down(NAME)


def read() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=FIGURES, help="write the figures here")
    parser.add_argument("--rounds", type=int, default=120, help="of the operator; a third as many of Cilium")
    parser.add_argument("--at-once", type=int, default=100, help="Folds proposed at once")
    parser.add_argument("--fake-pods", type=int, default=FAKE_PODS)
    parser.add_argument("--network", default="cilium", choices=("cilium", "bridge"), help="bridge: no Cilium")
    parser.add_argument("--short", action="store_true", help="20 rounds, 20 Folds at once: two minutes")
    parser.add_argument("--lab", default="", help="a lab that is up, with fake nodes; default: one of its own")
    given = parser.parse_args()
    if given.short:
        given.rounds, given.at_once = 20, 20
    return given


def main() -> int:
    """Exit code 1 when a target is missed; 2, with one line, when there can be no lab here."""
    given = read()

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with laboratory(given, progress) as lab:
            found = measure(lab, given, progress)
    except LoomidiError as error:
        print(f"fold_cut: {error}")
        return error.exit_code
    left = [] if given.lab else leftovers(place(NAME))
    show(found)
    if left:
        print(f"the lab left {len(left)} things, such as {left[0]}")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if left or missed(found) else 0


if __name__ == "__main__":
    sys.exit(main())
