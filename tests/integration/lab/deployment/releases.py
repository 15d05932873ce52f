"""The chart on a lab's cluster: installed, upgraded, uninstalled by the real helm, and what of it is where.

Used by the tests of this folder. In: a lab with the image. Out: answers of helm, the API and the kernel.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from loomidi.loom.capture import spaces
from loomidi.loom.capture.xdp.attaching import tc_programs, xdp_program
from loomidi_lab.cluster import Lab
from loomidi_lab.cluster.api import ApiRefused
from tests.integration.helm.charts import CHART, NAMESPACE, RELEASE, Object, helm

SETTLED_S = 180.0
VALUES: Mapping[str, Any] = {
    "image": {"pullPolicy": "Never"},
    "clusterName": "lab",
    "nats": {"persistence": {"enabled": False}},
    "pipeline": {"persistence": {"enabled": False}},
    "operator": {"generateApprovalKey": True},
}


class Release:
    """One release of the chart."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def helm(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """What helm says. Fails with its words."""
        command = [helm(), *words, "--kubeconfig", str(self.lab.kubeconfig), "--namespace", NAMESPACE]
        text = "" if values is None else yaml.safe_dump(dict(values))
        given = [] if values is None else ["--values", "-"]
        done = subprocess.run([*command, *given], input=text, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr + self.told()
        return done.stdout

    def install(self, more: Mapping[str, Any] | None = None) -> str:
        """Its notes, once everything is ready."""
        waiting = ("--wait", "--timeout", f"{SETTLED_S:.0f}s")
        values = {
            name: {**VALUES.get(name, {}), **one} if isinstance(one, dict) else one
            for name, one in (more or {}).items()
        }
        return self.helm("install", RELEASE, str(CHART), *waiting, values={**VALUES, **values})

    def upgrade(self, **more: Any) -> str:
        """With other values, the rest as it was."""
        waiting = ("--wait", "--timeout", f"{SETTLED_S:.0f}s", "--reset-then-reuse-values")
        return self.helm("upgrade", RELEASE, str(CHART), *waiting, values=more)

    def uninstall(self) -> str:
        """Gone when it returns."""
        return self.helm("uninstall", RELEASE, "--wait", "--timeout", f"{SETTLED_S:.0f}s")

    def pods(self, part: str = "") -> list[Object]:
        """Its pods, or those of a part."""
        chosen = f"app.kubernetes.io/instance={RELEASE}" + (f",app.kubernetes.io/component={part}" if part else "")
        return self.lab.api.list(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=chosen)

    def settle(self) -> list[Object]:
        """Its pods, all ready: helm waits for all but one of a DaemonSet, and an agent waits for the bus."""
        until = time.monotonic() + SETTLED_S
        while not all(map(is_ready, pods := self.pods())):
            assert time.monotonic() < until, self.told()
            time.sleep(0.5)
        return pods

    def told(self) -> str:
        """Why pods are not as they should be."""
        lines = []
        for pod in self.pods():
            name, status = pod["metadata"]["name"], pod.get("status", {})
            if not is_ready(pod):
                states = [one.get("state") for one in status.get("containerStatuses", ())]
                logged = self.lab.kubectl("logs", "-n", NAMESPACE, name, "--tail=15", check=False)
                lines.append(f"\n{name}: {status.get('phase')} {states}\n{logged.stdout}{logged.stderr}")
        return "".join(lines)

    def query(self, sql: str) -> list[Object]:
        """Rows of the lake, asked for in the pipeline's pod; none while the table is not there."""
        (pod,) = self.pods("pipeline")
        words = ("loomidi", "lake", "--config", "/etc/loomidi/loomidi.toml", "query", "--json", sql)
        done = self.lab.exec(NAMESPACE, pod["metadata"]["name"], *words, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()] if not done.returncode else []

    def holder(self) -> str:
        """Who holds the operator's lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/loomidi-operator"
        return str(self.lab.api.get(path)["spec"].get("holderIdentity", "")) if self.lab.api.exists(path) else ""

    def secret(self, name: str) -> Object:
        """Its data."""
        found: Object = self.lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")["data"]
        return found


def is_ready(pod: Object) -> bool:
    """Whether its condition says so."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def comes(asked: Callable[[], Any], wanted: Callable[[Any], bool] = bool, timeout_s: float = 90.0) -> Any:
    """What is asked for, as soon as it is as wanted."""
    until = time.monotonic() + timeout_s
    while not wanted(found := asked()):
        assert time.monotonic() < until, found
        time.sleep(0.5)
    return found


def objects_of(lab: Lab) -> set[str]:
    """Every object of every kind that the API server lists, but events."""
    found = set()
    for root in ("/api/v1", *(f"/apis/{group}" for group in groups_of(lab))):
        with contextlib.suppress(ApiRefused):  # a group that is being removed
            for kind in lab.api.get(root)["resources"]:
                if "list" in kind["verbs"] and kind["name"] != "events":
                    found |= {f"{root}/{kind['name']}: {name}" for name in names_of(lab, f"{root}/{kind['name']}")}
    return found


def groups_of(lab: Lab) -> list[str]:
    """The API groups, each in the version that its server prefers."""
    return [group["preferredVersion"]["groupVersion"] for group in lab.api.get("/apis")["groups"]]


def names_of(lab: Lab, path: str) -> list[str]:
    """Of a collection's objects, with their namespace."""
    return [f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}" for one in lab.api.list(path)]


def programs_of(lab: Lab) -> dict[str, list[int]]:
    """XDP and tc programs (TCX, and our clsact filter) on each link of each node."""
    found: dict[str, list[int]] = {}
    for node in lab.nodes:
        with spaces.inside(node.netns):
            for link in spaces.links():
                programs = [one for one in (xdp_program(link.index), *tc_programs(link.index)) if one]
                found |= {f"{node.name}/{link.name}": programs} if programs else {}
    return found


def kernel_of(lab: Lab) -> dict[str, str]:
    """What bpftool and the node's own folders show: attachments, pins, files of ours."""
    found = {}
    for node in lab.nodes:
        net = json.loads(lab.run(node.netns, "bpftool", "-j", "net", "show").stdout or "[]")
        words = ("find", "/sys/fs/bpf", "/var/lib/loomidi", "-mindepth", "1")
        pins = subprocess.run([*lab.on(node), *words], capture_output=True, text=True, check=False).stdout
        filters = [
            lab.run(node.netns, "tc", "filter", "show", "dev", link, way, check=False).stdout
            for link in links_of(lab, node.netns)
            for way in ("ingress", "egress")
        ]
        # the machine's own folder, which nodes share, stays there empty once anybody has attached something
        pins = "".join(line for line in pins.splitlines(keepends=True) if line.strip() != "/sys/fs/bpf/loomidi")
        found[node.name] = json.dumps([net, pins, [one for one in filters if one]], indent=1)
    return found


def links_of(lab: Lab, netns: str) -> list[str]:
    """Names of the links in a namespace."""
    return [one["ifname"] for one in json.loads(lab.run(netns, "ip", "-json", "link").stdout)]
