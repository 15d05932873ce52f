"""Loomidi on a lab as its users run it: pipeline with agent and detectors, operator, definitions, policies.

Called by `comparing` and `drills`. In: a lab. Out: a context; inside it findings become Folds, which the operator
carries out, or (`looking`) the pipeline alone is at work and nobody acts. The processes are the lab's, so `down` ends
them if we do not. Everything that was applied to the cluster goes again.
"""

import contextlib
import dataclasses
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts import EnvironmentLacks, Mode
from loomidi.contracts.schemas import FINDINGS
from loomidi.kit import configuring
from loomidi.loom.bus import BusSettings
from loomidi.loom.lake import Lake, LakeSettings
from loomidi.services.http.authority import Door
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.settings.agent import AgentSettings
from loomidi.services.settings.answers import DetectSettings, FoldingSettings
from loomidi.services.settings.hows import How
from loomidi.services.settings.run import NodeSettings, RunSettings, WindowGroup
from loomidi.services.settings.sources import SourceSettings
from loomidi_lab.cluster import certificates, processes

if TYPE_CHECKING:
    import pyarrow as pa

    from loomidi_lab.cluster import Lab

FOLDS = "/apis/loomidi.io/v1alpha1/folds"
_ROOT = Path(__file__).resolve().parents[2]
_POLICIES = Path(__file__).resolve().parent / "policies.yaml"
_APPLIED = (_ROOT / "deployments" / "crd", _ROOT / "deployments" / "rbac")
_SPACE = "loomidi-system"
_AGENT = "loomidi-agent"  # the name that agents' certificates are made out to
_WITHIN = "agent-"  # processes inside a node: who brought them there waits for them
_READY_S, _END_S = 60.0, 60.0
Object = dict[str, Any]
Change = Callable[[RunSettings], RunSettings]


class Defence:
    """What is at work, and what it did."""

    def __init__(self, lab: "Lab", lake: LakeSettings, *, keeps: bool = False) -> None:
        """`keeps`: Folds of before stay in the cluster, for whoever learns from them, and are not told again."""
        self._lab, self._lake, self._keeps = lab, lake, keeps
        self._told = set[str]()  # UIDs

    def folds(self) -> list[Object]:
        """All Folds since `forget`, the oldest first."""
        found = [fold for fold in self._lab.api.list(FOLDS) if fold["metadata"]["uid"] not in self._told]
        return sorted(found, key=lambda fold: str(fold["spec"].get("plan", {}).get("createdTime", "")))

    def await_ends(self, timeout_s: float = 60.0) -> list[Object]:
        """Release what is in force and wait until every Fold is over. Raises EnvironmentLacks for one that is not."""
        for fold in self._open():
            space, name = fold["metadata"]["namespace"], fold["metadata"]["name"]
            note = "loomidi.io/release=the scenario is over"
            self._lab.kubectl("annotate", "--overwrite", "--namespace", space, f"fold/{name}", note)
        until = time.monotonic() + timeout_s
        while open_ones := self._open():
            if time.monotonic() > until:
                told = "; ".join(map(_how_it_is, open_ones))
                raise EnvironmentLacks(f"not over after {timeout_s:.0f} s: {told}; see the operator's log")
            time.sleep(0.5)
        return self.folds()

    def await_answer(self, timeout_s: float) -> None:
        """Until a Fold has an effect, or is over after it had one, or the time is."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            phases = {fold.get("status", {}).get("phase") for fold in self.folds()}
            if phases & {"Active", "Released", "RolledBack", "Expired"}:
                return
            time.sleep(0.5)

    def findings(self, since_ns: int) -> "pa.Table":
        """Rows of `FINDINGS` that were told since then and lie in the lake by now."""
        lake = Lake(self._lake)
        try:
            return lake.read("findings", since_ns=since_ns) if "findings" in lake.tables() else FINDINGS.empty_table()
        finally:
            lake.close()

    def forget(self) -> None:
        """Folds that are over go, so that none is counted for what comes next."""
        if self._keeps:
            self._told |= {fold["metadata"]["uid"] for fold in self.folds()}
        else:
            _swept(self._lab)

    def _open(self) -> list[Object]:
        over = ("Released", "RolledBack", "Expired", "Denied", "Superseded")
        return [fold for fold in self.folds() if fold.get("status", {}).get("phase") not in over]


@contextlib.contextmanager
def defended(
    lab: "Lab", say: Callable[[str], object], *, bandit: Path | None = None, settings: Change = lambda as_is: as_is
) -> Iterator[Defence]:
    """While the block runs, Loomidi watches every link of the lab and acts by the policies of this folder.

    `bandit`: it ranks the folds instead of the rules, goes on from what lies in that folder and leaves it there.
    `settings`: from what is run with elsewhere to what is wanted here.
    """
    with tempfile.TemporaryDirectory(prefix="loomidi-heal-") as folder, contextlib.ExitStack() as stack:
        _define(lab, stack)
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(_POLICIES))
        if bandit is not None:
            shutil.copytree(bandit, Path(folder) / "state" / "choices", dirs_exist_ok=True)
            stack.callback(shutil.copytree, Path(folder) / "state" / "choices", bandit, dirs_exist_ok=True)
        run = settings(_settings(lab, Path(folder), How.BANDIT if bandit else How.RULES))
        for label, words in _processes(lab, Path(folder), run).items():
            started, within = lab.start(f"heal-{label}", words), label.startswith(_WITHIN)
            stack.callback(processes.end, started, within=within, patience_s=_END_S)
        defence = Defence(lab, _lake(Path(folder)), keeps=bandit is not None)
        stack.callback(_gone, lab, "-f", str(_POLICIES))
        stack.callback(_swept, lab)
        _await_leader(lab)
        say("loomidi watches and acts")
        yield defence
        defence.await_ends()


@contextlib.contextmanager
def looking(
    lab: "Lab", settings: Change, say: Callable[[str], object], *, folder: Path | None = None
) -> Iterator[Defence]:
    """While the block runs, `loomidi run` alone watches every link: it finds, tells and proposes, and nobody acts.

    `settings`: from what `defended` runs with to what is wanted here. `folder`: bus, lake and state lie there and stay,
    and whoever looks there next goes on from them.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomidi-look-")))
        _define(lab, stack)
        config = place / "run.toml"
        shadow = _settings(lab, place)
        shadow = dataclasses.replace(shadow, fold=dataclasses.replace(shadow.fold, mode=Mode.SHADOW))
        config.write_text(configuring.printed(settings(shadow)))
        started = lab.start("look-run", [sys.executable, "-m", "loomidi", "run", "--config", str(config)])
        stack.callback(_swept, lab)
        stack.callback(processes.end, started, within=False, patience_s=_END_S)
        say("loomidi watches")
        yield Defence(lab, _lake(place))


def _define(lab: "Lab", stack: contextlib.ExitStack) -> None:
    """What Folds are, and who may do what; with the stack all of it goes again that was not there before."""
    if not lab.api.exists(f"/api/v1/namespaces/{_SPACE}"):
        lab.kubectl("create", "namespace", _SPACE)
        stack.callback(_gone, lab, "namespace", _SPACE)
    if not lab.api.exists("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/folds.loomidi.io"):
        for place in _APPLIED:
            stack.callback(_gone, lab, "-f", str(place))
    for place in _APPLIED:
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(place))


def _gone(lab: "Lab", *what: str) -> None:
    lab.kubectl("delete", "--ignore-not-found", *what, timeout_s=2 * _END_S, check=False)


def _processes(lab: "Lab", folder: Path, run: RunSettings) -> dict[str, list[str]]:
    """An agent in each node, which takes orders; the pipeline, which finds and proposes; the operator, which acts."""
    loomidi, key, authority = [sys.executable, "-m", "loomidi"], folder / "orders.key", folder / "pki" / "ca.crt"
    key.write_text(secrets.token_hex(32))
    pki = certificates.authority(folder / "pki")
    agent, operator = pki.issue("agent", _AGENT, hosts=(_AGENT,)), pki.issue("operator", "loomidi-operator")
    config = folder / "run.toml"
    config.write_text(configuring.printed(run))
    started = {}
    for node in lab.nodes:
        serve = [*lab.on(node), *loomidi, "serve", "agent", "--node", node.name, "--state", str(folder / node.name)]
        tls = ["--tls-cert", str(agent[0]), "--tls-key", str(agent[1]), "--client-ca", str(authority)]
        orders = ["--orders", f"{node.address}:9103", "--orders-key", str(key), "--pod-logs", str(node.folder / "logs")]
        started[f"{_WITHIN}{node.name}"] = [*serve, *orders, *tls]
    acts = ["--kubeconfig", str(lab.kubeconfig), "--mode", "autonomous", "--protect", str(lab.lan)]
    orders = ["--agents-key", str(key), "--agents-ca", str(authority)]
    tls = ["--agents-cert", str(operator[0]), "--agents-cert-key", str(operator[1])]
    started["operator"] = [*loomidi, "serve", "operator", *acts, *orders, *tls]
    started["run"] = [*loomidi, "run", "--config", str(config)]
    return started


def _settings(lab: "Lab", folder: Path, ranking: How = How.RULES) -> RunSettings:
    """Everything in one process; every link of every node."""
    return RunSettings(
        node=NodeSettings(name="heal", state=folder / "state"),
        bus=BusSettings(folder=folder / "bus"),
        lake=_lake(folder),
        ingest=IngestSettings(door=Door(port=0)),
        agent=AgentSettings(
            links=("veth*", "lxc*", "eth0"), netns=tuple(node.netns for node in lab.nodes), capture="sockets"
        ),
        sources=SourceSettings(kubeconfig=str(lab.kubeconfig)),
        windows=WindowGroup(sizes_s=()),
        detect=DetectSettings(on=True),
        fold=FoldingSettings(kubeconfig=str(lab.kubeconfig), mode=Mode.AUTONOMOUS, rest_s=10.0, ranking=ranking),
        probes=Door(port=0),
    )


def _how_it_is(fold: Object) -> str:
    status, name = fold.get("status", {}), fold["metadata"]["name"]
    return f"{name} {fold['spec']['kind']} {status.get('phase', 'new')}: {str(status.get('message', ''))[:200]}"


def _lake(folder: Path) -> LakeSettings:
    return LakeSettings(folder=folder / "lake")


def _await_leader(lab: "Lab") -> None:
    """Until the operator leads; the pipeline is at work by then."""
    until = time.monotonic() + _READY_S
    path = f"/apis/coordination.k8s.io/v1/namespaces/{_SPACE}/leases/loomidi-operator"
    while not (lab.api.exists(path) and lab.api.get(path)["spec"].get("holderIdentity")):
        if time.monotonic() > until:
            raise EnvironmentLacks(f"the operator does not lead after {_READY_S:.0f} s; see its log in the lab")
        time.sleep(0.2)


def _swept(lab: "Lab") -> None:
    lab.kubectl("delete", "folds", "--all", "--all-namespaces", "--wait=true", timeout_s=_END_S, check=False)
