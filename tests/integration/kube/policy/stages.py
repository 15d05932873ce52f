"""A deployer over the real API server, as the user that has the policy API's role.

No Kyverno runs here: the stage says in its place that a policy is ready, at the fault point between a change and its
verification. What Kyverno itself makes of a policy is tested with its command.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.policies import Asker, Deployer, KyvernoEngine, Policy, PolicyType, Reports, Shelf
from tests.integration.kube.rooms import Killed
from tests.unit.ionic.policies.ruling import FakeJudge, kyverno, manifest

ASKER = Asker("local", "decision-1")
Object = dict[str, Any]
NO_CEL = {"message": "bad", "conditions": []}


@dataclasses.dataclass
class Stage:
    """One store over the cluster; policies have names of their own."""

    folder: Path
    admin: httpx.Client
    client: httpx.Client  # of the policy API's user
    ready: bool | None = True  # what a Kyverno would say; None: nothing
    die_at: str = ""

    def __post_init__(self) -> None:
        self.engine = KyvernoEngine(KubeApi(self.client))
        self.reports = Reports(KubeApi(self.client))
        self.now: Policy | None = None
        self.start()

    def start(self) -> None:
        """As a process that starts."""
        self.shelf = Shelf(self.folder / "policies.sqlite")
        engines = {PolicyType.KYVERNO: self.engine}
        self.deployer = Deployer(self.shelf, FakeJudge(), engines, verify_s=0.5, fault=self._passed)  # type: ignore[arg-type]

    def die(self, fault: str, run: Callable[[], object]) -> None:
        """Run until the point, then start again."""
        self.die_at = fault
        try:
            run()
        except Killed:
            pass
        else:
            raise AssertionError(f"{fault} was not passed")
        self.die_at = ""
        self.shelf.close()
        self.start()

    def deploy(self, document: Object) -> Policy:
        self.now = kyverno(document, document["metadata"]["name"])
        self.deployer.deploy(self.now, ASKER)
        return self.now

    def found(self, policy: Policy) -> Object | None:
        """The object in the cluster, by an administrator."""
        return KubeApi(self.admin).get(self.engine.place(policy))

    def standing(self, name: str) -> str:
        status = self.deployer.status(name)
        assert status is not None
        return status.standing.value

    def say(self, policy: Policy, *, ready: bool) -> None:
        """In the place of a Kyverno."""
        condition = {"type": "Ready", "status": str(ready), "reason": "Said", "message": "bad"}
        condition["lastTransitionTime"] = "2026-11-26T12:00:00Z"
        cel = policy.manifest["kind"] == "ValidatingPolicy"
        status = {"conditionStatus": NO_CEL | {"ready": ready}} if cel else {"conditions": [condition]}
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.admin.patch(f"{self.engine.place(policy)}/status", json={"status": status}, headers=headers)
        assert answer.is_success or answer.status_code == 404, answer.text

    def _passed(self, fault: str) -> None:
        if fault == "applied_unverified" and self.now is not None and self.ready is not None:
            self.say(self.now, ready=self.ready)
        if fault == self.die_at:
            raise Killed


def document(name: str, message: str = "no", **more: Any) -> Object:
    """A ClusterPolicy whose message tells its version."""
    made = manifest(name, **more)
    made["spec"]["rules"][0]["validate"]["message"] = message
    return made
