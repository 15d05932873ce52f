"""Samples of deployments/admission/samples as requests: the stage that each needs, who asks, what must come of it."""

import dataclasses
import json
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from loomidi.fold.resources import NEXT, Phase
from loomidi_lab.cluster.control_plane import path_of
from tests.integration.kube.admission.floors import ADMISSION, HOME, OTHER, Floor, Object, disguised
from tests.integration.kube.rooms import USER

SAMPLES = ADMISSION / "samples"
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/{}/folds"
VERDICT = {"guard": "floor", "rule": "aimed", "allow": True, "reason": "the target is named"}
INTENT = {"id": "first", "step": "intent", "atTime": "2026-01-01T00:00:00Z"}
APPROVAL = {"approver": "guards", "planHash": "00ff", "grantedTime": "2026-01-01T00:00:00Z"}
SEEN_S = 3.0  # until the policies have seen what was written a moment ago
_USERS = {"operator": USER, "pipeline": OTHER, "admin": "admin"}
_METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}


@dataclasses.dataclass(frozen=True)
class Sample:
    """One request of a file."""

    policy: str
    told: Object

    def __str__(self) -> str:
        return f"{self.policy}: {self.told['says']}"


def samples(needs: str = "") -> list[Sample]:
    """All that a bare API server can be asked; those that need `definitions` of others are asked by `means`."""
    read = [(file.stem, yaml.safe_load(file.read_text())) for file in sorted(SAMPLES.glob("*.yaml"))]
    return [Sample(policy, told) for policy, several in read for told in several if told.get("needs", "") == needs]


def policies() -> set[str]:
    """Names of the policies, without ours before them."""
    read = [one for file in ADMISSION.glob("*.yaml") for one in yaml.safe_load_all(Path(file).read_text())]
    names = {one["metadata"]["name"] for one in read if one["kind"] == "ValidatingAdmissionPolicy"}
    return {name.removeprefix("loomidi-") for name in names}


class Asked:
    """One sample in a namespace."""

    def __init__(self, floor: Floor, sample: Sample) -> None:
        self._floor, self._plan = floor, f"plan-{secrets.token_hex(8)}"
        text = json.dumps(sample.told).replace("NS", floor.namespace).replace("PLAN", self._plan)
        self.told: Object = json.loads(text)
        self._home = HOME if self.told.get("hand", {}).get("home") else floor.namespace

    def prepared(self) -> None:
        """Namespace, objects, Fold, and what is at hand."""
        told, admin = self.told, self._floor.admin
        if space := told.get("space"):
            self._floor.allowed("admin", "PATCH", "/api/v1/namespaces/{}", {"metadata": space})
        for one in told.get("given", ()):
            where = {} if one["kind"] == "Node" else {"namespace": self._floor.namespace}
            body = one | {"metadata": one["metadata"] | where}
            answer = admin.post(path_of(body).rpartition("/")[0], json=body)
            assert answer.is_success, answer.text
        if "fold" in told:
            self._fold(told["fold"])
        if "hand" in told:
            self._hand(told["hand"])

    def answer(self) -> httpx.Response:
        """Of the API server, once its policies have seen what was prepared."""
        until, wanted = time.monotonic() + SEEN_S, self.told.get("refused", "")
        while True:
            answer = self._once()
            if (wanted in answer.text if wanted else answer.is_success) or time.monotonic() > until:
                return answer
            time.sleep(0.02)

    def close(self) -> None:
        """What lies in no namespace of its own."""
        if self._home == HOME:
            self._noted(HOME, None, None)

    def _once(self) -> httpx.Response:
        told = self.told
        user = _USERS.get(told["as"], told["as"])
        groups = ("system:authenticated",) if told.get("rights") == "own" else ()
        path = told["at"].replace("FOLDS", FOLDS.format(self._home)).replace("FOLD", self._path)
        body = self._object(told["body"]) if told["at"] == "FOLDS" else told.get("body")
        return self._floor.ask(user, _METHODS[told["does"]], path, body, headers=disguised(user, *groups))

    @property
    def _path(self) -> str:
        return f"{FOLDS.format(self._home)}/fold"

    def _object(self, given: Object) -> Object:
        """A Fold that isolates pod web-0 unless it says otherwise."""
        plan = {"id": self._plan, "createdTime": "2026-01-01T00:00:00Z", "expiresTime": "2026-01-01T01:00:00Z"}
        spec = {"kind": "ISOLATE_POD", "target": f"pod/{self._floor.namespace}/web-0", "action": "isolate"}
        spec |= {"ttlSeconds": 60, "because": "test", "mode": "guarded", "plan": plan} | given.get("spec", {})
        metadata = {"name": "fold", **given.get("metadata", {})}
        metadata |= {name: given[name] for name in ("labels", "annotations") if name in given}
        return {"apiVersion": "loomidi.io/v1alpha1", "kind": "Fold", "metadata": metadata, "spec": spec}

    def _fold(self, given: Object) -> None:
        for one in self._floor.room.look.items(FOLDS.format(self._home)):  # of others, where it is the namespace of all
            path = f"{FOLDS.format(self._home)}/{one['metadata']['name']}"
            self._floor.allowed("admin", "PATCH", path, {"metadata": {"finalizers": None}})
            self._floor.ask("admin", "DELETE", path)
        self._floor.allowed("admin", "POST", FOLDS.format(self._home), self._object(given))
        if who := given.get("approved"):
            note = {"metadata": {"annotations": {f"approval.loomidi.io/{who}": "{}"}}}
            self._floor.allowed(who, "PATCH", self._path, note)
        for phase in _way_to(given.get("phase")):
            status = {"phase": phase, "verdicts": [VERDICT], "approvals": [APPROVAL], "receipts": [INTENT]}
            self._floor.allowed(USER, "PATCH", f"{self._path}/status", {"status": status})

    def _hand(self, given: Object) -> None:
        self._fold({"phase": "Applying", "labels": {"loomidi.io/at-hand": "true"}} | given)
        spec = self._object(given)["spec"]
        self._noted(self._home, self._plan, f"{spec['kind']} {spec['target'].rpartition('/')[2]}")

    def _noted(self, space: str, plan: str | None, told: str | None) -> None:
        note = {"labels": {"loomidi.io/at-hand": plan}, "annotations": {"loomidi.io/at-hand": told}}
        until = time.monotonic() + SEEN_S
        while (answer := self._floor.ask(USER, "PATCH", f"/api/v1/namespaces/{space}", {"metadata": note})).is_error:
            assert time.monotonic() < until, answer.text
            time.sleep(0.02)


def _way_to(phase: str | None) -> list[Phase]:
    """The shortest way from Proposed; none without a phase."""
    ways = [[Phase.PROPOSED]] if phase else [[]]
    while phase and ways[0][-1] != phase:
        way: Any = ways.pop(0)
        ways += [[*way, after] for after in NEXT[way[-1]]]
    return ways[0]
