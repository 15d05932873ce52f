"""Isolation held against what it says: flow by flow on delivered packets, random pods, on both networks of the lab.

Pods of three namespaces talk all the time, in a random graph: TCP and UDP, directly and by Services, the cluster's DNS,
an address outside and from one. One after the other, random pods are isolated by a Fold as the pipeline proposes it
(plan with its blast radius, operator, agents on the nodes). The Fold states each conversation that it cuts and each
that goes on (`loomidi fold show`). Packet sockets in every pod's network and outside see what is delivered, by the
kernel's time; they know nothing of Loomidi. What neither begins nor ends at one of these pods does not count.

  before    every flow counts that had packets in the seconds before the Fold was posted; it is waited for all that ran
            since the round before began, and what stays away is said; a flow that is stated and did not run fails:
            nothing would be proven by its silence
  cut       from the moment that the Fold calls itself Active no packet of a flow that is stated as cut may arrive
  goes on   every other flow in the cluster, those of the pod itself that are stated to go on among them, must have
            packets in both directions after that moment; it is waited for them, so a slow machine is no failure
  back      after the release every flow of before must have packets again

Exit code 0 when nothing differs on any network, 1 when something does, 2 when it could not be carried out.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from bench.exact.comparing import Compared, Counts, compare, silent, stated_of
from bench.exact.defence import LABEL, Defence, defended
from bench.exact.packets import Packets
from bench.exact.population import Member, Population, eventually, is_ready
from loomidi.contracts import EnvironmentLacks, LoomidiError
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.stating import Stated, stated
from loomidi_lab.cluster import Lab, UpSettings, down, raising, up

ROOT = Path(__file__).resolve().parent.parent
OUT, LOGS = ROOT / ".work" / "fold-exact.json", ROOT / ".work" / "fold-exact"  # agents' and operator's
BEFORE_S, AFTER_S = 6.0, 2.0  # how long what runs is looked at; how long silence is; both at least
TELLING_S = 2.5  # until the graph holds what runs
PATIENCE_S = 60.0  # for what runs, what goes on, and what comes back: pods wait for a processor on a busy machine
LOOK_S = 0.5  # between two looks: each counts all that arrived, at 30 pods some thousand packets a second
SPARE_PODS = 5  # that talk and are not isolated
_SETTLE_S = 22.0  # until the graph holds what runs


@dataclasses.dataclass(frozen=True)
class Round:
    """One pod isolated and released."""

    pod: str
    address: str
    compared: Compared
    not_back: list[str]
    ready: bool  # by its kubelet's probes, while it was isolated
    lost: int  # packets that our sockets could not hold
    took: tuple[float, ...]  # seconds: what runs, until the Fold is Active, what goes on, and back

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.compared.exact and not self.not_back and self.ready and not self.lost

    def exceptions(self) -> list[str]:
        """What differs, one line each."""
        found = self.compared
        lists = {"stated, did not run": found.idle, "stated as cut, goes on": found.still_open}
        lists |= {"cut, not stated": found.wrongly_cut, "not back": self.not_back}
        lines = [f"{what}: {flow}" for what, flows in lists.items() for flow in flows]
        lines += [] if self.ready else ["its probes do not go on"]
        lines += [f"{self.lost} packets were not seen by the measure"] if self.lost else []
        return [f"{self.pod} ({self.address}) {line}" for line in lines]


class Site:
    """One network."""

    def __init__(self, population: Population, packets: Packets, defence: Defence) -> None:
        self.population, self.packets, self.defence = population, packets, defence

    def round(self, member: Member, number: int) -> Round:
        """Steps: 1 what runs  2 the Fold, until Active  3 silence, and what goes on  4 compare  5 release."""
        address = self.population.addresses[member.name]
        # 1 what runs
        began_ns, times = time.time_ns(), [time.monotonic()]
        known = self.packets.since(0)  # since the round before began
        missing = silent(known, self._wait(began_ns, known, BEFORE_S), ())
        for flow in sorted({str(flow) for flow, _ in missing}):
            say(f"  ran once and does not any more: {flow}")
        time.sleep(TELLING_S)
        before = self.packets.since(began_ns)
        self.packets.forget(began_ns)
        times.append(time.monotonic())
        # 2 the Fold
        fold = self.defence.reaches(self.defence.isolate(address, number), "Active")
        said = stated(fold)
        if said is None or said.unlisted:
            raise EnvironmentLacks(f"the Fold for {member.name} does not state each flow: {said}")
        times.append(time.monotonic())
        # 3 silence, and what goes on
        after = self._after(nanoseconds(fold["status"]["since"]), before, said)
        ready = is_ready(self.population.lab.api.get(f"/api/v1/namespaces/{member.namespace}/pods/{member.name}"))
        times.append(time.monotonic())
        # 4 compared
        compared = compare(address, before, after, said.cut, said.stays)
        # 5 released, and back
        self.defence.release(fold)
        released = self.defence.reaches(fold, "Released")
        back = self._wait(nanoseconds(released["status"]["since"]), before, 0.0)
        not_back = sorted({str(flow) for flow, _ in silent(before, back, ())})
        times.append(time.monotonic())
        took = tuple(end - start for start, end in itertools.pairwise(times))
        return Round(member.name, address, compared, not_back, ready, self.packets.lost(), took)

    def _after(self, active_ns: int, before: Counts, said: Stated) -> Counts:
        cut = stated_of({flow for flow, _ in before}, said.cut)
        return self._wait(active_ns, {way: count for way, count in before.items() if way[0] not in cut}, AFTER_S)

    def _wait(self, from_ns: int, wanted: Counts, least_s: float) -> Counts:
        """What arrived since then, once each wanted flow has."""
        began = time.monotonic()
        while True:
            found = self.packets.since(from_ns)
            spent = time.monotonic() - began
            if spent >= least_s and (not silent(wanted, found, ()) or spent > PATIENCE_S):
                return found
            time.sleep(LOOK_S)


def measure(network: str, pods: int, seed: int, lab_name: str) -> list[Round]:
    """One network: a lab, its population, a round for each of the pods."""
    chance = random.Random(f"{seed} {network}")
    settings = UpSettings(name=lab_name, network=network)
    raising.check(settings)
    down(lab_name)
    up(settings)
    lab = Lab.open(lab_name)
    try:
        population = Population(lab, pods + SPARE_PODS, seed)
        population.start(LABEL)
        say(f"{network}: {len(population.members)} pods talk")
        with contextlib.ExitStack() as stack:
            stack.enter_context(population.outside())
            folder = LOGS / network
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            packets = stack.enter_context(Packets(population.networks, population.served, population.attribute))
            defence = stack.enter_context(defended(lab, folder))
            packets.forget(time.time_ns())  # such as ICMP of the outside before it served
            time.sleep(_SETTLE_S)
            eventually(lambda: len(packets.since(0)) > 10 * pods, "the pods talk")
            site = Site(population, packets, defence)
            packets.lost()
            chosen = chance.sample(population.members, pods)
            return [told(network, site.round(member, number)) for number, member in enumerate(chosen, 1)]
    finally:
        lab.close()
        down(lab_name)


def told(network: str, done: Round) -> Round:
    """Say how a round went."""
    found = done.compared
    counts = f"{found.stated} stated as cut, {found.spared} as going on, {found.others} of others"
    say(f"{network}: {done.pod}: {counts}: {'exact' if done.exact else 'NOT EXACT'}")
    looked, active, after, back = done.took
    say(f"  looked {looked:.1f} s, Active after {active:.1f} s, looked {after:.1f} s, back after {back:.1f} s")
    for line in done.exceptions():
        say(f"  {line}")
    return done


def say(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)


def summary(rounds: list[Round], seconds: float) -> dict[str, Any]:
    """One network in figures."""
    found = [one.compared for one in rounds]
    return {
        "pods": len(rounds),
        "different_pods": len({one.pod for one in rounds}),
        "exact_pods": sum(one.exact for one in rounds),
        "flows_stated": sum(one.stated for one in found),
        "flows_cut": sum(one.cut for one in found),
        "flows_stated_to_go_on": sum(one.spared for one in found),
        "flows_of_others": sum(one.others for one in found),
        "stated_idle": sum(len(one.idle) for one in found),
        "wrongly_cut": sum(len(one.wrongly_cut) for one in found),
        "still_open": sum(len(one.still_open) for one in found),
        "not_back": sum(len(one.not_back) for one in rounds),
        "packets_before": sum(one.packets_before for one in found),
        "packets_after": sum(one.packets_after for one in found),
        "packets_not_seen": sum(one.lost for one in rounds),
        "exceptions": [line for one in rounds for line in one.exceptions()],
        "seconds": round(seconds),
    }


def show(found: dict[str, Any]) -> None:
    """The table for people."""
    print(f"{'network':<10}{'pods':>6}{'stated':>9}{'cut':>7}{'wrongly cut':>13}{'still open':>12}{'stays':>7}", end="")
    print(f"{'others':>9}{'not back':>10}{'packets before':>16}{'after':>9}{'s':>6}")
    for name, one in found["networks"].items():
        print(
            f"{name:<10}{one['pods']:>6}{one['flows_stated']:>9}{one['flows_cut']:>7}{one['wrongly_cut']:>13}", end=""
        )
        print(f"{one['still_open']:>12}{one['flows_stated_to_go_on']:>7}{one['flows_of_others']:>9}", end="")
        print(f"{one['not_back']:>10}{one['packets_before']:>16,}{one['packets_after']:>9,}{one['seconds']:>6}")
    print(f"seed {found['seed']}; {'nothing differs' if found['exact'] else 'these differ:'}")
    for name, one in found["networks"].items():
        for line in one["exceptions"]:
            print(f"  {name}: {line}")


def main() -> int:
    """Exit code 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=OUT, help="write the figures here")
    parser.add_argument("--network", choices=("bridge", "cilium"), action="append", help="only this one")
    parser.add_argument("--pods", type=int, default=25, help="isolated on each network")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="the bridge alone, 5 pods")
    parser.add_argument("--name", default="exact", help="of the lab")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("fold_exact: needs root (a lab, packet sockets); run: sudo make bench")
        return 2
    networks = ["bridge"] if given.short else given.network or ["bridge", "cilium"]
    found: dict[str, Any] = {"seed": given.seed, "networks": {}}
    try:
        for network in networks:
            began = time.monotonic()
            rounds = measure(network, 5 if given.short else given.pods, given.seed, given.name)
            found["networks"][network] = summary(rounds, time.monotonic() - began)
    except LoomidiError as error:
        print(f"fold_exact: {error}")
        return 2
    every = found["networks"].values()
    found["exact"] = all(one["exact_pods"] == one["pods"] == one["different_pods"] for one in every)
    show(found)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
