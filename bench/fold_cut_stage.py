"""What bench/fold_cut.py measures on: a lab, pods that send without pause, fake pods, agents, operator, proposer.

In: a lab that is up. Out: a `Stage` as a context; what it brought to the cluster goes again. Operator and agents are
the real programs, each in a process of its own, started as their users start them: the operator under a service account
with the roles of deployments/rbac alone, an agent inside each node, orders over TLS with certificates on both sides.
Leaves when to do what, and all judging, to the bench.
"""

import concurrent.futures as cf
import contextlib
import functools
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.policy_latency import eventually, inside
from loomidi.contracts import Evidence, Finding, Mode, Severity, content_id
from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi.garden.graph import EntityGraph
from loomidi.ionic.act.kube import Agents, AgentSettings
from loomidi.ionic.decide import DeciderSettings
from loomidi.ionic.orders import CUT, RELEASE, KeySealer, Order
from loomidi.kit.clock import SystemClock
from loomidi.loom.sources.clusters import access
from loomidi.services.folds.folding import Folding
from loomidi.services.folds.planning import decider_over, planned
from loomidi.services.settings.answers import FoldingSettings
from loomidi_lab.cluster import Lab, Link, certificates, processes

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
SPACE, CROWD, FAKE = "fold-cut", "fold-crowd", "fold-fake"
HOME, AGENT = "loomidi-system", "loomidi-agent"
OPERATOR, PROPOSER = "loomidi-operator", "loomidi-proposer"
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/{}/folds"
POLICIES = "/apis/loomidi.io/v1alpha1/foldpolicies"
PODS = "/api/v1/namespaces/{}/pods"
PORT, PER_SECOND, OFTEN_S = 7788, 500, 0.1
ENDS = ("Released", "RolledBack", "Expired", "Denied", "Superseded")
GRANTED = {OPERATOR: ("loomidi-act", "loomidi-fold-operator"), PROPOSER: ("loomidi-proposer",)}
SENDING = """
import socket, struct, sys, time
me, number, gap, due = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, 1 / float(sys.argv[2]), time.monotonic()
while True:
    number += 1
    try:
        me.sendto(struct.pack("!QQ", number, time.time_ns()), (sys.argv[1], int(sys.argv[3])))
    except OSError:
        pass
    due = max(due + gap, time.monotonic() - 0.01)
    time.sleep(max(0.0, due - time.monotonic()))
"""
ARRIVING = """
import json, socket, struct, sys, threading
me = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
me.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS: the kernel says when each came
me.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
me.bind(("", int(sys.argv[1])))
seen, lock = {}, threading.Lock()
def take():
    while True:
        word, about, _, who = me.recvmsg(64, 64)
        if len(word) == 16 and about:
            number, sent = struct.unpack("!QQ", word)
            seconds, rest = struct.unpack("qq", about[0][2][:16])
            with lock:
                known = seen.setdefault(who[0], [0, 0, 0, 0])
                known[:] = [known[0] + 1, seconds * 10**9 + rest, number, sent]
threading.Thread(target=take, daemon=True).start()
for line in sys.stdin:
    with lock:
        print(json.dumps(seen), flush=True)
"""


class Arrivals:
    """What comes to the peer, told by the peer's kernel: for each sender how many, the last one's time and number."""

    def __init__(self, lab: Lab, peer: Link) -> None:
        words = [*inside(lab, peer), sys.executable, "-c", ARRIVING, str(PORT)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()

    def of(self, address: str) -> tuple[int, int, int]:
        """Count, arrival of the last one in ns since the epoch, its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            count, at_ns, number, _ = json.loads(self._process.stdout.readline()).get(address, (0, 0, 0, 0))
        return count, at_ns, number

    def flows(self, address: str) -> None:
        """Wait until packets of this sender come, a few in a row."""
        first = self.of(address)[0]
        eventually(lambda: self.of(address)[0] > first + 5, f"no packet of {address} comes to the peer")

    def silent(self, address: str, for_s: float = 0.1) -> int:
        """Wait until none has come for a while; when the last one came."""
        until = time.monotonic() + 60
        while True:
            count, at_ns, _ = self.of(address)
            time.sleep(for_s)
            if count and self.of(address)[0] == count:
                return at_ns
            if time.monotonic() > until:
                raise EnvironmentLacks(f"packets of {address} go on 60 s after it was to be cut")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Stage:
    """Everything that stands."""

    def __init__(self, lab: Lab, folder: Path, links: Sequence[Link], arrivals: Arrivals) -> None:
        self.lab, self.folder, self.senders, self.arrivals = lab, folder, tuple(links), arrivals
        self.operator: subprocess.Popen[bytes] | None = None
        self._key, self._pki = folder / "orders.key", folder / "pki"
        self._key.write_text(secrets.token_hex(32))
        authority = certificates.authority(self._pki)
        self._agent = authority.issue("agent", AGENT, hosts=(AGENT,))
        self._own = authority.issue("operator", OPERATOR)
        self._clock, self._numbers = SystemClock(), iter(range(1, 10**9))
        self._decider = decider_over(EntityGraph(), (), self._clock, DeciderSettings(Mode.AUTONOMOUS))

    # -- the programs ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def agents(self) -> Iterator[None]:
        """One inside each node, taking orders."""
        started = {}
        try:
            for node in self.lab.nodes:
                words = [*self.lab.on(node), sys.executable, "-m", "loomidi", "serve", "agent", "--node", node.name]
                words += ["--orders", f"{node.address}:9103", "--orders-key", str(self._key)]
                words += ["--tls-cert", str(self._agent[0]), "--tls-key", str(self._agent[1])]
                words += ["--client-ca", str(self._pki / "ca.crt"), "--pod-logs", str(node.folder / "logs")]
                words += ["--state", str(self.folder / node.name)]
                started[node.name] = self.lab.start(f"cut-agent-{node.name}", words)
            with contextlib.closing(self.direct()) as asking:
                for node in self.lab.nodes:
                    there = functools.partial(_told, asking, node)
                    eventually(there, f"the agent of {node.name} takes no orders")
            time.sleep(2.0)  # its programs are on the pods' links by its first looks
            yield
        finally:
            for process in started.values():
                processes.end(process, patience_s=20)

    @contextlib.contextmanager
    def operating(self) -> Iterator[None]:
        """The operator, leading."""
        words = [sys.executable, "-m", "loomidi", "serve", "operator", "--mode", "autonomous"]
        words += ["--kubeconfig", str(self._kubeconfig(OPERATOR)), "--protect", str(self.lab.lan)]
        words += ["--agents-key", str(self._key), "--agents-ca", str(self._pki / "ca.crt")]
        words += ["--agents-cert", str(self._own[0]), "--agents-cert-key", str(self._own[1])]
        self.operator = self.lab.start("cut-operator", words)
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/loomidi-operator"
        try:
            eventually(lambda: self._leads(lease), "the operator does not lead; see its log in the lab")
            time.sleep(2.0)
            yield
        finally:
            processes.end(self.operator, within=False, patience_s=20)

    def _leads(self, lease: str) -> bool:
        if self.operator is not None and self.operator.poll() is not None:
            raise EnvironmentLacks(f"the operator ended: {self.lab.launcher.last_words('cut-operator')}")
        return self.lab.api.exists(lease) and bool(self.lab.api.get(lease)["spec"].get("holderIdentity"))

    def rss_mb(self) -> float:
        """The most that the operator had resident at any moment."""
        assert self.operator is not None
        lines = Path(f"/proc/{self.operator.pid}/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6, 1)

    @contextlib.contextmanager
    def proposing(self) -> Iterator[Folding]:
        """As `loomidi run` proposes: `services/folding` on a thread, under its own account."""
        stop = threading.Event()
        with access(self._kubeconfig(PROPOSER), {}).blocking(10.0) as client:
            folding = Folding(client, FoldingSettings(kubeconfig="lab", mode=Mode.AUTONOMOUS, rest_s=0.0))
            thread = threading.Thread(target=folding.run, args=(stop,), daemon=True)
            thread.start()
            try:
                yield folding
            finally:
                stop.set()
                thread.join(5.0)

    def direct(self) -> Agents:
        """The agents as the operator speaks to them; to be closed."""
        settings = AgentSettings(authority=self._pki / "ca.crt", certificate=self._own[0], key=self._own[1])
        return Agents(KeySealer(self._key.read_bytes().strip()), lambda: 1, settings)

    def _kubeconfig(self, account: str) -> Path:
        """One with a token of a service account, the roles of deployments/rbac bound to it."""
        path = f"/api/v1/namespaces/{HOME}/serviceaccounts/{account}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        token = self.lab.api.post(path, asked)["status"]["token"]
        document = yaml.safe_load(self.lab.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        file = self.folder / f"{account}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(document))
        return file

    def crowd(self, count: int) -> None:
        """Pods to fold all at once; made late, for a hundred containers keep two cores half busy by being there."""
        lab, sleeping = self.lab, ["sleep", "infinity"]
        _made(lab, CROWD, [_pod(CROWD, f"one-{number}", _node(lab, number), sleeping) for number in range(count)])

    # -- what is asked of them ---------------------------------------------------------------------------------------

    def finding(self, namespace: str, pod: str) -> Finding:
        """As the detectors tell of a pod that scans."""
        now_ns, entity = time.time_ns(), f"pod/{namespace}/{pod}"
        return Finding(
            id=content_id("finding", {"pod": entity, "number": next(self._numbers), "at": now_ns}),
            pattern="horizontal_scan",
            techniques=("T1046",),
            severity=Severity.HIGH,
            confidence=0.95,
            entities=(entity,),
            first_ns=now_ns - 2 * 10**9,
            last_ns=now_ns,
            evidence=(Evidence("hosts", 120.0, 20.0, "hosts", "distinct destinations"),),
            source="bench",
        )

    def hand_over(self, folding: Folding, findings: Sequence[Finding]) -> list[str]:
        """Planned, judged and offered, as the detectors' thread does it; the Folds' names."""
        found = [(finding, planned(finding, self._decider)) for finding in findings]
        for finding, folds in found:
            folding.offer(finding, folds)
        return [folds[0].plan.id for _, folds in found]

    def fold(self, namespace: str, name: str) -> Object:
        """As it is now; {} while it is not there."""
        found = self.lab.api.list(FOLDS.format(namespace), fieldSelector=f"metadata.name={name}")
        return found[0] if found else {}

    def reaches(self, namespace: str, name: str, *phases: str) -> Object:
        """Wait for one of these phases. Raises EnvironmentLacks for another end."""
        until = time.monotonic() + 60
        while True:
            fold = self.fold(namespace, name)
            status = fold.get("status") or {}
            if status.get("phase") in phases:
                return fold
            if status.get("phase") in ENDS or time.monotonic() > until:
                told = f"{status.get('phase', 'not there')}: {status.get('message', '')}"
                raise EnvironmentLacks(f"Fold {name} was to be {' or '.join(phases)}, it is {told}")
            time.sleep(OFTEN_S)

    def note(self, namespace: str, name: str, what: str) -> None:
        """A person's annotation: release, deny."""
        notes = {f"loomidi.io/{what}": "the bench says so"}
        self.lab.api.patch(f"{FOLDS.format(namespace)}/{name}", {"metadata": {"annotations": notes}})

    def order(self, link: Link, plan_id: str) -> Order:
        """The order that cuts this pod, or by `RELEASE` gives it back."""
        pod = {"pod": link.uid, "namespace": link.namespace, "name": link.pod, "address": link.address}
        return Order(CUT, link.node, plan_id, "", 0, time.time_ns() + 60 * 10**9, 0, **pod)

    def address(self, link: Link) -> str:
        """Of the node that a pod is on."""
        return self.lab.node(link.node).address


def release_of(order: Order) -> Order:
    """What takes it back."""
    return Order(RELEASE, order.node, order.plan_id, "", 0, 0, 0)


# -- raising it --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def staged(lab: Lab, folder: Path, counts: Object, progress: Callable[[str], object]) -> Iterator[Stage]:
    """`counts`: of pods: `senders`, `fake`."""
    if counts["fake"] and lab.state["fake_nodes"] * 110 < counts["fake"]:
        raise EnvironmentLacks(f"lab {lab.name} has too few fake nodes; bring one up with --fake-nodes 10")
    try:
        _established(lab)
        progress(f"{counts['fake']} fake pods, {counts['senders']} that send")
        _made(lab, FAKE, [_fake(number, lab.state["fake_nodes"]) for number in range(counts["fake"])])
        _made(lab, SPACE, [_pod(SPACE, "peer", lab.nodes[-1].name, ["sleep", "infinity"])])
        (peer,) = _links(lab, 1)
        sending = ["python3", "-c", SENDING, peer.address, str(PER_SECOND), str(PORT)]
        names = [f"sender-{number}" for number in range(counts["senders"])]
        _made(lab, SPACE, [_pod(SPACE, name, _node(lab, at), sending) for at, name in enumerate(names)])
        links = {link.pod: link for link in _links(lab, len(names) + 1)}
        with contextlib.closing(Arrivals(lab, peer)) as arrivals:
            for name in names:
                arrivals.flows(links[name].address)
            yield Stage(lab, folder, [links[name] for name in names], arrivals)
    finally:
        for name in (SPACE, CROWD):
            with contextlib.suppress(Exception):  # Folds first: their finalizer waits for an operator that is gone
                for fold in lab.api.list(FOLDS.format(name)):
                    path = f"{FOLDS.format(name)}/{fold['metadata']['name']}"
                    lab.api.patch(path, {"metadata": {"finalizers": None}})
        for name in (SPACE, CROWD, FAKE):
            lab.api.delete(f"/api/v1/namespaces/{name}")
            lab.api.delete(f"{POLICIES}/{name}")


def _established(lab: Lab) -> None:
    """Definitions, roles, accounts, namespaces, a policy for each namespace that is folded in."""
    for name in (HOME, SPACE, CROWD, FAKE):
        eventually(functools.partial(_gone, lab, name), f"an earlier run's {name} has not gone")
        lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    for folder in ("crd", "rbac"):
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "deployments" / folder))
    lab.apply([obj for account, roles in GRANTED.items() for obj in _account(account, roles)])
    eventually(lambda: lab.kubectl("get", "foldpolicies", check=False).returncode == 0, "FoldPolicies are not served")
    loose = {"caps": {"workload": 9, "namespace": "100%", "node": "100%", "total": 10}, "cooldownSeconds": 0}
    bucket, storm = {"size": 1000, "refillSeconds": 1}, {"findings": 100_000, "withinSeconds": 1}
    for name in (SPACE, CROWD):
        named = {"matchLabels": {"kubernetes.io/metadata.name": name}}
        spec = {
            "mode": "autonomous",
            "when": {"patterns": ["horizontal_scan"], "namespaceSelector": named},
            "allow": [{"kind": "ISOLATE_POD"}],
            "verify": {"stableForSeconds": 0, "timeoutSeconds": 20},
            "brakes": loose | {"bucket": bucket, "storm": storm},
        }
        policy = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": name}}
        lab.apply([policy | {"spec": spec}])


def _account(account: str, roles: Sequence[str]) -> list[Object]:
    there = {"name": account, "namespace": HOME}
    subjects = [{"kind": "ServiceAccount", **there}]
    group = "rbac.authorization.k8s.io"
    made: list[Object] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": there}]
    for role in roles:
        to = {"apiGroup": group, "kind": "ClusterRole", "name": role}
        made.append(
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"bench-{role}"},
                "roleRef": to,
                "subjects": subjects,
            }
        )
    if account == OPERATOR:  # the lease lies in its own namespace
        to = {"apiGroup": group, "kind": "Role", "name": "loomidi-fold-operator"}
        binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": there, "roleRef": to}
        made.append(binding | {"subjects": subjects})
    return made


def _made(lab: Lab, namespace: str, pods: Sequence[Object]) -> None:
    """Made, and running."""
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually(lambda: lab.api.exists(account), f"{namespace} has no service account")
    with cf.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pod: lab.api.post(PODS.format(namespace), pod), pods))
    wanted = {pod["metadata"]["name"] for pod in pods}
    until = time.monotonic() + 300
    while missing := wanted - _running(lab, namespace):
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{len(missing)} pods of {namespace} do not run, such as {min(missing)}")
        time.sleep(0.5)


def _running(lab: Lab, namespace: str) -> set[str]:
    pods = lab.api.list(PODS.format(namespace))
    return {pod["metadata"]["name"] for pod in pods if _is_ready(pod)}


def _is_ready(pod: Object) -> bool:
    told = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told)


def _links(lab: Lab, count: int) -> list[Link]:
    found: list[Link] = []

    def there() -> bool:
        found[:] = [link for link in lab.links() if link.namespace == SPACE]
        return len(found) == count

    eventually(there, f"{count} pods of {SPACE} have no links")
    return found


def _node(lab: Lab, number: int) -> str:
    return lab.nodes[number % len(lab.nodes)].name


def _gone(lab: Lab, namespace: str) -> bool:
    ending = [one for one in lab.api.list("/api/v1/namespaces") if "deletionTimestamp" in one["metadata"]]
    return namespace not in {one["metadata"]["name"] for one in ending}


def _pod(namespace: str, name: str, node: str, command: Sequence[str]) -> Object:
    container = {"name": "main", "image": "lab.loomidi.io/base:1", "command": list(command)}
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _fake(number: int, nodes: int) -> Object:
    pod = _pod(FAKE, f"fake-{number}", f"fake-{number % max(1, nodes)}", ["true"])
    pod["spec"]["tolerations"] = [{"operator": "Exists"}]
    return pod


def _told(asking: Agents, node: Any) -> bool:
    with contextlib.suppress(Retryable):
        return bool(asking.told(node.name, node.address, "none") or True)
    return False
