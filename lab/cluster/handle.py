"""A running lab in the hands of its users: addresses, API, commands in pods and namespaces, links by pod.

Called by shop, scenarios, recorder, tests and verbs. In: a lab's name. Out: `Lab`. Leaves bringing up and down to
`raising`; knows nothing that is not in the state file or can be asked of the kernel and the API.
"""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import yaml

from loomidi.contracts.errors import EnvironmentLacks, InputError, LoomidiError
from loomidi_lab import images
from loomidi_lab.cluster import cilium, links, nodes, tools
from loomidi_lab.cluster.addressing import Ranges
from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.control_plane import Site
from loomidi_lab.cluster.links import Link
from loomidi_lab.cluster.places import DEFAULT, known, place
from loomidi_lab.cluster.processes import Launcher, entering, inside

_ADOPTED = {"network": "", "block": "10.0.0.0/15", "nodes": 0, "api_port": 0, "fake_nodes": 0, "adopted": True}
_NODE_PARTS = ("init", "kubelet", "containerd", "proxy", "cilium")
Done = subprocess.CompletedProcess[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One real node."""

    name: str
    number: int
    netns: str
    address: str
    pods: str  # CIDR
    folder: Path


class Lab:
    """A lab that is up."""

    def __init__(self, state: dict[str, Any]) -> None:
        """Use `Lab.open`."""
        self.place = place(state["name"])
        self.state = state
        self.name: str = state["name"]
        self.network: str = state["network"]
        self.ranges = Ranges(state["block"])
        self.folder = self.place.folder
        self.kubeconfig = self.folder / "kubeconfig"
        self.api_log = self.folder / "audit.jsonl"
        self.control_netns, self.outside_netns = self.place.control, self.place.outside
        self.host_address, self.dns_address = self.ranges.host, self.ranges.dns
        self.services, self.pods, self.lan = self.ranges.services, self.ranges.pods, self.ranges.lan
        self.launcher = Launcher(self.place)
        self.site = Site(self.place, self.ranges, state["nodes"], self.network, state["api_port"], state["fake_nodes"])
        self.nodes = tuple(self._node(number) for number in range(1, state["nodes"] + 1))

    @classmethod
    def open(cls, name: str = DEFAULT) -> "Lab":
        """Raises EnvironmentLacks when no such lab is up."""
        file = place(name).state
        try:
            lab = cls(json.loads(file.read_text()))
        except FileNotFoundError as error:
            others = ", ".join(other.name for other in known() if other.state.is_file())
            hint = f"run `loomidi-lab up{_named(name)}` first" + (
                f", or name one with --name: {others}" if others else ""
            )
            raise EnvironmentLacks(f"no lab{'' if name == DEFAULT else f' {name}'} is up; {hint}") from error
        if not lab.launcher.pid("kube-apiserver"):
            hint = f"run `loomidi-lab up{_named(name)}`, which repairs it"
            raise EnvironmentLacks(f"lab {name} is damaged: its API server has ended; {hint}")
        return lab

    @classmethod
    def reach(cls, name: str = DEFAULT) -> "Lab":
        """As `open`; when no such lab is up and KUBECONFIG names a cluster, that one, for what needs the API alone."""
        given = Path(os.environ.get("KUBECONFIG", ""))
        if place(name).state.is_file() or not given.is_file():
            return cls.open(name)
        lab = cls(_ADOPTED | {"name": name})
        lab.kubeconfig = given
        return lab

    def _node(self, number: int) -> Node:
        name = nodes.name(number)
        address, pods = self.ranges.node(number), self.ranges.pods_of(number)
        return Node(name, number, self.place.node(number), address, pods, self.folder / name)

    def node(self, name: str) -> Node:
        """By name. Raises InputError."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise InputError(f"no node {name} in lab {self.name}; there is {', '.join(n.name for n in self.nodes)}")
        return found

    @functools.cached_property
    def api(self) -> Api:
        """The API as the administrator."""
        return Api(self.kubeconfig)

    @property
    def adopted(self) -> bool:
        """Whether this is a cluster of somebody else's, given by KUBECONFIG: no nodes, links or namespaces of ours."""
        return bool(self.state.get("adopted"))

    def close(self) -> None:
        """Let go of the API's connections."""
        if "api" in self.__dict__:
            self.api.close()

    @staticmethod
    def client() -> str:
        """The lab's kubectl; where it is not built, the one of this machine."""
        try:
            return str(tools.binary("kubectl"))
        except EnvironmentLacks:
            found = shutil.which("kubectl")
            if not found:
                raise
            return found

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Done:
        """Run kubectl as the administrator. Raises InputError with its last line, unless `check` is off."""
        return self._run(
            [self.client(), f"--kubeconfig={self.kubeconfig}", *arguments],
            stdin=stdin,
            timeout_s=timeout_s,
            check=check,
        )

    def apply(self, manifests: str | Sequence[dict[str, Any]]) -> None:
        """Server-side apply of YAML text or of objects. Raises InputError."""
        text = manifests if isinstance(manifests, str) else yaml.safe_dump_all(manifests)
        self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=loomidi-lab", "-f", "-"), stdin=text
        )

    def exec(
        self,
        namespace: str,
        pod: str,
        *argv: str,
        container: str = "",
        timeout_s: float = 60.0,
        check: bool = True,
    ) -> Done:
        """Run a command in a pod. Raises InputError with its last line, unless `check` is off."""
        chosen = ("--container", container) if container else ()
        words = ("exec", "--namespace", namespace, pod, *chosen, "--", *argv)
        return self.kubectl(*words, timeout_s=timeout_s, check=check)

    def enter(self, netns: str) -> list[str]:
        """Prefix of a command in one of the lab's network namespaces."""
        return entering(netns)

    def on(self, node: Node) -> list[str]:
        """Prefix of a command inside a node: its network, mounts and processes."""
        return inside(nodes.init(self.site, node.number))

    def run(self, netns: str, *argv: str, timeout_s: float = 60.0, check: bool = True) -> Done:
        """Run a host's command in a network namespace. Raises InputError with its last line, unless `check` is off."""
        return self._run([*entering(netns), *argv], timeout_s=timeout_s, check=check)

    def start(
        self, label: str, argv: Sequence[str], netns: str = "", stdin: IO[bytes] | int | None = None
    ) -> "subprocess.Popen[bytes]":
        """A process of the lab, in its cgroup, logging to logs/LABEL.log; `down` ends it if the caller does not."""
        return self.launcher.child(label, [*entering(netns), *argv], stdin)

    def links(self) -> list[Link]:
        """The host's ends of pod links and the nodes' own links, by pod, as they are now."""
        return links.survey(self.place, self.api, [(node.name, node.netns) for node in self.nodes])

    def load_images(self, names: Sequence[str]) -> None:
        """Give the running nodes the images of these names as they are in the cache now. Raises InputError."""
        chosen = [image for image in images.built() if image.name in names]
        missing = set(names) - {image.name for image in chosen}
        if missing:
            raise InputError(f"no image {', '.join(sorted(missing))} is built; see `loomidi-lab build`")
        for node in self.nodes:
            socket = str(node.folder / "containerd.sock")
            words = (*self.on(node), str(tools.binary("ctr")), f"--address={socket}", "--namespace=k8s.io")
            with subprocess.Popen(
                [*words, "image", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            ) as take:
                assert take.stdin is not None
                images.write_archive(chosen, cast(BinaryIO, take.stdin))
                take.stdin.close()
            if take.returncode:
                raise InputError(f"node {node.name} did not take {', '.join(names)}; see its containerd log")

    def dead(self) -> list[str]:
        """Parts of the cluster that were started and do not run, such as `n2-kubelet`."""
        parts = [path.stem for path in sorted((self.folder / "pids").glob("*.pid"))]
        core = [part for part in parts if part.startswith(("etcd", "kube-")) or part.partition("-")[2] in _NODE_PARTS]
        return [part for part in core if not self.launcher.pid(part)]

    def stop_node(self, name: str, *parts: str) -> None:
        """End kubelet, containerd or proxy of a node (all three when none is named)."""
        nodes.stop(self.launcher, self.node(name).number, *(parts or ("kubelet", "containerd", "proxy")))

    def start_node(self, name: str, *parts: str) -> None:
        """Start them again. Raises EnvironmentLacks where the kubelet does not answer in time."""
        number = self.node(name).number
        starters = {
            "containerd": nodes.start_containerd,
            "kubelet": nodes.start_kubelet,
            "proxy": nodes.start_proxy,
        } | ({"cilium": cilium.start} if self.network == "cilium" else {})
        wanted = parts or tuple(starters)
        for part in wanted:
            if not self.launcher.pid(f"{name}-{part}"):
                if part == "kubelet":
                    nodes.await_containerd(self.site, number)
                starters[part](self.site, number)
        if "kubelet" in wanted:
            self._await_kubelet(name)

    def kubelet_answers(self, name: str) -> bool:
        """Whether the kubelet of a node says that it is well."""
        try:
            return self.api.text(f"/api/v1/nodes/{name}/proxy/healthz") == "ok"
        except LoomidiError:
            return False

    def _await_kubelet(self, name: str, timeout_s: float = 60.0) -> None:
        """It ends where containerd is not ready for its calls yet, and is started again, as an init system does."""
        until, label = time.monotonic() + timeout_s, f"{name}-kubelet"
        while not self.kubelet_answers(name):
            if time.monotonic() > until:
                raise EnvironmentLacks(f"{label} does not answer: {self.launcher.last_words(label)}")
            if not self.launcher.pid(label):
                nodes.start_kubelet(self.site, self.node(name).number)
            time.sleep(0.25)

    def restart_node(self, name: str) -> None:
        """As a machine that loses its power and boots: pods start anew in place, whatever else ran there has ended."""
        nodes.restart(self.site, self.node(name).number)
        self.start_node(name)

    @staticmethod
    def _run(words: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Done:
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        how: dict[str, Any] = {"capture_output": True, "text": True, "env": environment}
        how["start_new_session"] = True  # Ctrl-C is for us, not for a command that may be taking something back
        try:
            done: Done = subprocess.run(words, input=stdin, timeout=timeout_s, check=False, **how)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{_short(words)}: no end after {timeout_s:g} s") from error
        if check and done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise InputError(f"{_short(words)}: {lines[-1].strip()[:400] if lines else f'exit code {done.returncode}'}")
        return done


def _named(name: str) -> str:
    return "" if name == DEFAULT else f" --name {name}"


def _short(words: Sequence[str]) -> str:
    plain = [Path(words[0]).name, *(word for word in words[1:] if not word.startswith("--kubeconfig"))]
    return " ".join(plain)[:120]
