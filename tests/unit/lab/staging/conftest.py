"""A lab in memory: objects by API path, commands that were run, and no cluster at all."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loomidi.contracts.errors import InputError
from loomidi_lab.staging import loading
from loomidi_lab.staging.records import Scenario
from loomidi_lab.staging.targets import EntityRef, path_of

MINIMAL: dict[str, Any] = {
    "name": "sample",
    "category": "attack",
    "family": "scan",
    "technique": "T1046",
    "title": "A sample",
    "description": "Something that happens in tests.",
    "duration_s": 1,
    "needs": {"shop": False},
    "parameters": {"count": {"integer": [2, 9]}},
    "truth": {
        "sources": [{"kind": "Pod", "namespace": "tenants", "name": "a"}],
        "victims": [{"kind": "Pod", "namespace": "tenants", "name": "b"}],
        "fold": {
            "right": [{"kind": "NONE", "why": "it is only a test"}],
            "harmful": [{"kind": "SCALE_OUT", "why": "it is only a test"}],
        },
    },
    "phases": {"act": [{"wait": {"seconds": 0}}], "undo": []},
    "symptoms": [{"name": "always", "command": {"at": "host", "script": "true", "code": 0}}],
}


class NoSuchObject(InputError):
    """As the API says it."""

    status = 404


class FakeApi:
    """Objects by path; knows how collections and objects are named, nothing else."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []

    def put_in(self, kind: str, name: str, namespace: str = "tenants", **fields: Any) -> dict[str, Any]:
        made = {"kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}
        self.objects[path_of(EntityRef(kind, namespace, name))] = made
        return made

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        if path not in self.objects:
            raise NoSuchObject(f"GET {path}: not found")
        return json.loads(json.dumps(self.objects[path]))

    def exists(self, path: str) -> bool:
        return path in self.objects

    def list(self, path: str, **params: Any) -> list[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        wanted = [one for at, one in self.objects.items() if at.split("/")[-2] == kind and _under(path, at)]
        labels = dict(pair.split("=") for pair in params.get("labelSelector", "").split(",") if "=" in pair)
        return [one for one in wanted if labels.items() <= (one["metadata"].get("labels") or {}).items()]

    def post(self, path: str, obj: dict[str, Any]) -> None:
        self.asked.append(("post", path))
        self.objects[f"{path}/{obj['metadata']['name']}"] = obj

    def put(self, path: str, obj: dict[str, Any]) -> None:
        self.asked.append(("put", path))
        self.objects[path] = obj

    def patch(self, path: str, body: Any, kind: str = "merge") -> None:
        self.asked.append(("patch", path))
        _merge(self.objects[path], body)

    def delete(self, path: str, **_: Any) -> None:
        self.asked.append(("delete", path))
        self.objects.pop(path, None)


def _under(collection: str, path: str) -> bool:
    return path.startswith(collection + "/") if "/namespaces/" in collection else True


def _merge(into: dict[str, Any], body: dict[str, Any]) -> None:
    for key, value in body.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


class FakeLab:
    """What the staging asks of a lab."""

    name, network = "lab", "bridge"
    dns_address, host_address = "10.65.0.10", "10.65.255.1"
    pods, services, lan = "10.64.0.0/16", "10.65.0.0/17", "10.65.255.0/24"
    outside_netns, control_netns = "ll-lab-out", "ll-lab-cp"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = FakeApi()
        self.api_log = folder / "audit.jsonl"
        self.nodes = (SimpleNamespace(name="n1", netns="ll-lab-n1", address="10.65.255.11", pods="10.64.1.0/24"),)
        self.executed: list[tuple[str, ...]] = []
        self.link_list: list[Any] = []
        self.answer = (0, "", "")
        self.ended: list[str] = []

    def dead(self) -> list[str]:
        return self.ended

    def links(self) -> list[Any]:
        return self.link_list

    def apply(self, objects: list[dict[str, Any]]) -> None:
        for one in objects:
            metadata = one["metadata"]
            self.api.objects[path_of(EntityRef(one["kind"], metadata.get("namespace", ""), metadata["name"]))] = one
            if one["kind"] == "Namespace":
                self.api.put_in("ServiceAccount", "default", metadata["name"])
            if one["kind"] == "Pod":
                address = f"10.64.1.{len(self.api.objects) + 2}"
                ready = [{"type": "Ready", "status": "True"}]
                one["status"] = {"phase": "Running", "podIP": address, "conditions": ready}

    def exec(self, namespace: str, pod: str, *argv: str, **_: Any) -> Any:
        self.executed.append((namespace, pod, *argv))
        return subprocess.CompletedProcess(argv, *self.answer)

    def run(self, netns: str, *argv: str, **_: Any) -> Any:
        self.executed.append((netns, *argv))
        return subprocess.CompletedProcess(argv, *self.answer)


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    """An empty one."""
    return FakeLab(tmp_path)


@pytest.fixture
def scenario_of(tmp_path: Path) -> Iterator[Any]:
    """Make a scenario from the minimal one with some keys changed; in a folder of its own."""

    def make(**changed: Any) -> Scenario:
        folder = tmp_path / "sample"
        folder.mkdir(exist_ok=True)
        return loading.parse(json.dumps({**MINIMAL, **changed}), folder / "scenario.yaml")

    return make
