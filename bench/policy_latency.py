"""Cilium's policies beside the fast lane, on the same pods: from the word to the first connection that is refused.

On a lab of its own with Cilium as the network (`bench`, brought up and taken down here; or `--lab NAME`): a client pod
on one node opens connections to a server pod on another, all the time. The prober is a process of this bench inside the
client pod's network namespace, so that all times are CLOCK_MONOTONIC of this machine. It probes by TCP connects, since
refused connections are what a policy makes and what is asked for; it waits for none before it sends the next. In turns,
so that a busy second of the machine falls on all alike:

  cilium_policy    a CiliumNetworkPolicy that denies the client; from the API server's answer, when the bench has it.
                   The client had no policy before, so Cilium loads its program anew
  cilium_next      the same for a client that is under a policy already: Cilium only writes its map
  network_policy   a plain NetworkPolicy; the client had none before
  fast_lane        the shield on the client pod's host-side link, where Cilium's program stays; the probes go to a
                   password service, so the kernel tells of the client, the lane judges, guards and acts as ever; from
                   the decision (every guard has allowed it, nothing is written yet), as in bench/decision_to_drop.py
  floor            a bare write of an entry; from just before the system call

First drop: the sending of the first probe that is not answered, of ten such in a row. The probe before it was answered,
so the truth lies between the two: that gap is the resolution. The entry's own stamp of its first drop stands beside.
A negative time: Cilium had acted before the API server's answer was in our hands. The lane runs at real-time priority,
as it always does, Cilium's agent does not: on a busy machine that is part of the difference.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks, LoomidiError, Retryable
from loomidi_lab.cluster import Lab, Link, UpSettings, cgroups, cilium, down, tools, up
from loomidi_lab.cluster.clearing import leftovers
from loomidi_lab.cluster.places import place

Message = dict[str, Any]
NAME, NAMESPACE, PORT = "bench", "policy-latency", 22
ROLES = Path(__file__).with_name("policy_roles.py")
PATIENCE_S = 60.0
TIMEOUT_S = 0.25  # of one probe
CILIUM, PLAIN = ("cilium.io/v2", "CiliumNetworkPolicy"), ("networking.k8s.io/v1", "NetworkPolicy")
CLIENT, SERVER = {"matchLabels": {"app": "client"}}, {"matchLabels": {"app": "server"}}
SERVING = f"""
import socket
listening = socket.create_server(("", {PORT}), backlog=4096)
while True:
    listening.accept()[0].close()
"""
ROWS = {  # a trial of Bench -> its name in the figures, its title, that of its second figure
    "cilium_policy": ("CiliumNetworkPolicy", "API answer -> first drop", "from sending the request"),
    "cilium_next": ("CiliumNetworkPolicy, not the first", "API answer -> first drop", "from sending the request"),
    "network_policy": ("NetworkPolicy", "API answer -> first drop", "from sending the request"),
    "fast_lane": ("fast lane", "decision -> first drop", "by the entry's stamp"),
    "floor": ("floor", "bare map write -> first drop", "by the entry's stamp"),
}


class Role:
    """One of the two processes of bench/policy_roles.py."""

    def __init__(self, prefix: Sequence[str], role: str, config: Message) -> None:
        command = [*prefix, sys.executable, str(ROLES), role, json.dumps(config)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.role = role
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, what: str) -> Message:
        """Give an order and wait for its reply."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what}) + "\n")
        self.process.stdin.flush()
        return self.wait("reply", what)

    def wait(self, name: str, value: object) -> Message:
        """The next line with this value. Raises EnvironmentLacks when it does not come."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                message = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise EnvironmentLacks(f"no {name} {value} from the {self.role} in {PATIENCE_S:g} s") from None
            if message.get(name) == value:
                return message
            if "error" in message:
                raise EnvironmentLacks(f"the {self.role} ended: {message['error']}")

    def end(self) -> None:
        """Close its standard input, wait."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._said.put(json.loads(line))
        self._said.put({"error": "see above"})


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What one trial gave, in ns."""

    took: int
    more: int  # the second figure: see ROWS
    gap: int  # before the first drop: the resolution


def trial(since_ns: int, dropping: Message, more_ns: int) -> Trial:
    """From the moment that counts to the first drop."""
    return Trial(dropping["first_ns"] - since_ns, more_ns, dropping["first_ns"] - dropping["before_ns"])


class Bench:
    """The pods, the prober, the lane, and the four kinds of trials."""

    def __init__(self, lab: Lab, link: Link, prober: Role, lane: Role) -> None:
        self.lab, self.link, self.prober, self.lane = lab, link, prober, lane
        self.trials: dict[str, list[Trial]] = {name: [] for name in ROWS}
        self.random = random.Random(7)

    def run(self, trials: int, progress: Callable[[str], object]) -> None:
        """So many rounds, each with one trial of every kind."""
        for number in range(trials):
            for row, done in self.trials.items():
                time.sleep(self.random.uniform(0.2, 0.6))  # what the last one set off comes to rest
                done.append(getattr(self, row)())
            if number % 10 == 9:
                progress(f"{number + 1} rounds")

    def cilium_policy(self) -> Trial:
        """A policy in Cilium's own words."""
        return self._policy(CILIUM, {"endpointSelector": CLIENT, "egressDeny": [{"toEndpoints": [SERVER]}]})

    def cilium_next(self) -> Trial:
        """The same beside a policy that allows everything."""
        path, policy = policy_of(CILIUM, "allow", {"endpointSelector": CLIENT, "egress": [{"toEntities": ["all"]}]})
        self.lab.api.post(path, policy)
        eventually(self._policed, "Cilium has not taken a policy up")
        try:
            return self.cilium_policy()
        finally:
            self.lab.api.delete(f"{path}/allow")
            eventually(lambda: not self._policed(), "Cilium has not let a policy go")

    def network_policy(self) -> Trial:
        """A policy in Kubernetes' words."""
        return self._policy(PLAIN, {"podSelector": CLIENT, "policyTypes": ["Egress"], "egress": []})

    def _policy(self, kind: tuple[str, str], spec: Message) -> Trial:
        path, policy = policy_of(kind, "deny", spec)
        asked_ns = time.monotonic_ns()
        self.lab.api.post(path, policy)
        answered_ns = time.monotonic_ns()
        dropping = self.prober.wait("state", "dropping")
        self.lab.api.delete(f"{path}/deny")
        self.prober.wait("state", "flowing")
        return trial(answered_ns, dropping, dropping["first_ns"] - asked_ns)

    def _policed(self) -> bool:
        """Whether Cilium holds the client against a policy, in the kernel."""
        with contextlib.suppress(Retryable):
            for endpoint in cilium.ask(self.lab.site, self.lab.node(self.link.node).number, "/v1/endpoint"):
                status = endpoint["status"]
                if status["external-identifiers"].get("pod-name") == f"{NAMESPACE}/client":
                    return str(status["policy"]["realized"]["policy-enabled"]) != "none"
        raise EnvironmentLacks("Cilium does not know the client pod")

    def fast_lane(self) -> Trial:
        """The probes themselves cross the threshold."""
        self.lane.ask("arm")
        decided_ns = self.lane.wait("decision", "applied")["decided_ns"]
        dropping = self.prober.wait("state", "dropping")
        hit_ns = self.lane.ask("entry")["first_hit_ns"]
        self.lane.ask("undo")
        self.lane.wait("decision", "undone")
        self.prober.wait("state", "flowing")
        return trial(decided_ns, dropping, hit_ns - decided_ns)

    def floor(self) -> Trial:
        """Nothing but the write."""
        at_ns = self.lane.ask("floor")["at_ns"]
        dropping = self.prober.wait("state", "dropping")
        hit_ns = self.lane.ask("entry")["first_hit_ns"]
        self.lane.ask("clear")
        self.prober.wait("state", "flowing")
        return trial(at_ns, dropping, hit_ns - at_ns)


def policy_of(kind: tuple[str, str], name: str, spec: Message, namespace: str = NAMESPACE) -> tuple[str, Message]:
    """The path of its collection in the API, and the object."""
    version, word = kind
    plural = word.lower().removesuffix("y") + "ies"
    policy = {"apiVersion": version, "kind": word, "metadata": {"name": name}, "spec": spec}
    return f"/apis/{version}/namespaces/{namespace}/{plural}", policy


# -- the pods --------------------------------------------------------------------------------------------------------


def pod(name: str, node: str, command: Sequence[str]) -> Message:
    """A pod of the base image on one node."""
    container = {"name": "main", "image": "lab.loomidi.io/base:1", "command": list(command)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }


@contextlib.contextmanager
def pods(lab: Lab) -> Iterator[tuple[Link, str]]:
    """The client's link and the server's address; both run and are gone afterwards."""
    eventually(lambda: not lab.api.exists(f"/api/v1/namespaces/{NAMESPACE}"), "an earlier run's pods have not gone")
    lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    eventually(lambda: lab.api.exists(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"), "no service account")
    first, last = lab.nodes[0].name, lab.nodes[-1].name
    try:
        lab.apply([pod("client", first, ["sleep", "infinity"]), pod("server", last, ["python3", "-c", SERVING])])
        wait = ("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/client", "pod/server", "--timeout=60s")
        lab.kubectl(*wait, timeout_s=70)
        links = {link.pod: link for link in lab.links() if link.namespace == NAMESPACE}
        yield links["client"], links["server"].address
    finally:
        lab.api.delete(f"/api/v1/namespaces/{NAMESPACE}")


def inside(lab: Lab, link: Link) -> list[str]:
    """Prefix of a command of ours in the pod's network namespace and in no other of its namespaces."""
    group = next(path for path in cgroups.pods(lab.place) if path.name == f"pod{link.uid}")
    return ["nsenter", f"--target={min(cgroups.pids_below(group))}", "--net", "--"]


def eventually(holds: Callable[[], bool], otherwise: str) -> None:
    """Raises EnvironmentLacks when it does not hold in time."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{otherwise} after {PATIENCE_S:g} s")
        time.sleep(0.05)


def programs(lab: Lab) -> dict[str, list[str]]:
    """Programs at the tc hooks of every link of every node, in their order."""
    script = """
import json, socket
from loomidi.loom.capture.xdp import attaching, bpf
found = {}
for index, name in socket.if_nameindex():
    for at, hook in ((46, "in"), (47, "out")):
        found[f"{name} {hook}"] = [bpf.program_name(each) for each in bpf.attached(index, at)]
    found[f"{name} xdp"] = [bpf.program_name(each) for each in [attaching.xdp_program(index)] if each]
print(json.dumps(found))
"""
    found: dict[str, list[str]] = {}
    for node in lab.nodes:
        shown = json.loads(lab.run(node.netns, sys.executable, "-c", script).stdout)
        found |= {f"{node.name} {where}": names for where, names in shown.items() if names}
    return found


# -- a run -----------------------------------------------------------------------------------------------------------


def measure(lab: Lab, given: argparse.Namespace, progress: Callable[[str], object]) -> Message:
    """All figures, and whether Cilium works as before."""
    with pods(lab) as (link, address), tempfile.TemporaryDirectory() as folder:
        probing = {
            "address": address,
            "port": PORT,
            "per_second": given.rate,
            "timeout_s": TIMEOUT_S,
            "seed": 7,
        }
        shielding = {
            "interface": link.name,
            "source": link.address,
            "rung": given.rung,
            "receipts": str(Path(folder) / "receipts.sqlite"),
        }
        before, load = programs(lab), os.getloadavg()[0]
        with contextlib.ExitStack() as ending:
            prober = Role(inside(lab, link), "probe", probing)
            ending.callback(prober.end)
            prober.wait("state", "flowing")
            lane = Role(lab.enter(link.netns), "lane", shielding)
            ending.callback(lane.end)
            rung = lane.wait("ready", True)["rung"]
            beside = [f"{at}: {', '.join(names)}" for at, names in programs(lab).items() if f" {link.name} " in at]
            eventually(lambda: bool(lane.ask("counters")["counters"]), f"the shield sees no packet ({beside})")
            bench = Bench(lab, link, prober, lane)
            bench.run(given.trials, progress)
            seen = prober.ask("figures")
            lane.end()
            after = still_works(bench, before)
        return {
            "rung": rung,
            "cilium": tools.MODULES["cilium"].version,
            "kernel": platform.release(),
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "beside": beside,
            "probe": prober_figures(seen, given.rate),
            "rows": rows(bench),
            "as_before": not after,
            "not_as_before": after,
        }


def still_works(bench: Bench, before: dict[str, list[str]]) -> list[str]:
    """Without the shield: what differs from before it, in words. A policy must still deny, and its end still allow."""
    found = cilium.lacking(bench.lab.site)
    bench.cilium_policy()  # raises when a policy does not deny any more
    now = programs(bench.lab)
    changed = [where for where in sorted(now | before) if now.get(where) != before.get(where)]
    return found + [f"{where} has {now.get(where)}, before {before.get(where)}" for where in changed]


def rows(bench: Bench) -> dict[str, Message]:
    """Percentiles of every row and of its second figure."""
    return {
        ROWS[trial][0]: spread([each.took for each in done])
        | {"resolution": spread([each.gap for each in done]), "second": spread([each.more for each in done])}
        for trial, done in bench.trials.items()
    }


def spread(nanoseconds: Sequence[int]) -> Message:
    """Nearest rank, in ms."""
    ranked = sorted(nanoseconds)
    at = {f"p{share}_ms": ranked[max(0, -(-len(ranked) * share // 100) - 1)] for share in (50, 90, 99)}
    return {name: round(ns / 1e6, 3) for name, ns in {**at, "max_ms": ranked[-1]}.items()} | {"trials": len(ranked)}


def prober_figures(seen: Message, per_second: float) -> Message:
    """What the prober did in all."""
    gaps = spread(seen["gaps_ns"])
    return {
        "kind": "TCP connect",
        "per_second": round(1e9 * len(seen["gaps_ns"]) / sum(seen["gaps_ns"])),
        "asked_per_second": per_second,
        "gap_p50_ms": gaps["p50_ms"],
        "gap_p99_ms": gaps["p99_ms"],
        "gap_max_ms": gaps["max_ms"],
        **{name: seen[name] for name in ("sent", "lost", "leaked")},
    }


def show(found: Message) -> None:
    """The table for people."""
    probe = found["probe"]
    print(
        f"Cilium {found['cilium']}, shield {found['rung']}; {probe['kind']} probes, {probe['per_second']:,} a second, "
        f"gaps p50 {probe['gap_p50_ms']:.2f} p99 {probe['gap_p99_ms']:.2f} max {probe['gap_max_ms']:.1f} ms"
    )
    print(f"{'milliseconds':<61} {'p50':>9} {'p90':>9} {'p99':>9} {'max':>9} {'trials':>7} {'resolution':>11}")
    for name, title, second in ROWS.values():
        row = found["rows"][name]
        print(f"{name + ': ' + title:<61} {line(row)} {row['trials']:7} {row['resolution']['p50_ms']:11.3f}")
        print(f"{'    ' + second:<61} {line(row['second'])}")
    print(f"on the client's link, in their order: {'; '.join(found['beside'])}")
    print(
        f"probes: {probe['sent']:,} sent, {probe['lost']} lost while allowed, {probe['leaked']} answered while denied"
    )
    print(f"load of the machine before and after: {found['load'][0]} and {found['load'][1]}")
    print("Cilium works as before" if found["as_before"] else f"NOT AS BEFORE: {'; '.join(found['not_as_before'])}")


def line(row: Message) -> str:
    """The percentiles of a row."""
    return " ".join(f"{row[figure]:9.3f}" for figure in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))


@contextlib.contextmanager
def laboratory(name: str, progress: Callable[[str], object]) -> Iterator[Lab]:
    """The lab that is named, or one of our own that is gone afterwards."""
    if not name:
        up(UpSettings(name=NAME, network="cilium"), progress)
    lab = Lab.open(name or NAME)
    try:
        if lab.network != "cilium":
            raise EnvironmentLacks(
                f"lab {name} has network {lab.network}; use one of `loomidi-lab up --network cilium`"
            )
        yield lab
    finally:
        lab.close()
        if not name:
            down(NAME)


def main() -> int:
    """Exit code 1 when Cilium or the machine is not as before; 2, with one line, when there can be no lab here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--trials", type=int, default=30, help="of each kind")
    parser.add_argument("--rate", type=float, default=1000.0, help="probes per second")
    parser.add_argument("--rung", default="auto", choices=("auto", "native", "generic", "tc"), help="of the shield")
    parser.add_argument("--lab", default="", help="a lab with Cilium that is up; default: one of its own")
    given = parser.parse_args()

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with laboratory(given.lab, progress) as lab:
            found = measure(lab, given, progress)
    except LoomidiError as error:
        print(f"policy_latency: {error}")
        return error.exit_code
    left = [] if given.lab else leftovers(place(NAME))
    found["lab_gone"] = not left
    show(found)
    if not given.lab:
        print(f"the lab left {len(left)} things, such as {left[0]}" if left else "the lab is gone")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["as_before"] and not left else 1


if __name__ == "__main__":
    sys.exit(main())
