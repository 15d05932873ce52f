"""Policies, and an engine in memory, for the tests beside it and of the policy API."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loomidi.ionic.errors import BadPolicy, EngineAway
from loomidi.ionic.policies import Asker, Deployer, Policy, PolicyType, Shelf, read_policy
from loomidi.ionic.policies.records import Shadow
from loomidi.kit.clock import ManualClock

ASKER = Asker("local", "decision-1")
JUDGED = Shadow(("nobody",), 0, (), 0, 0, ())


def rego(suffix: str = ":latest", package: str = "shop.images", name: str = "no-latest") -> Policy:
    """One that refuses images by their ending."""
    text = f"""package {package}

import rego.v1

deny contains msg if {{
	some container in input.object.spec.containers
	endswith(container.image, "{suffix}")
	msg := sprintf("%s ends in {suffix}", [container.name])
}}
"""
    return read_policy(name, PolicyType.REGO, text)


def manifest(name: str = "no-host-pid", **metadata: Any) -> dict[str, Any]:
    """A ClusterPolicy as an object."""
    rule = {
        "name": "host-pid",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "validate": {"failureAction": "Enforce", "message": "no", "pattern": {"spec": {"=(hostPID)": "false"}}},
    }
    head = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": name, **metadata}}
    return head | {"spec": {"background": True, "rules": [rule]}}


def kyverno(document: Mapping[str, Any] | None = None, name: str = "no-host-pid") -> Policy:
    """The same as a policy; JSON is YAML."""
    return read_policy(name, PolicyType.KYVERNO, json.dumps(document or manifest(name)))


class FakeJudge:
    """Finds everything good."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def judge(self, policy: Policy) -> Shadow:
        self.asked.append(policy.digest)
        return JUDGED


class FakeEngine:
    """Holds texts by place; may be away, or not follow."""

    name, forgets = "fake", True

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.away, self.deaf, self.strict = False, False, False

    def place(self, policy: Policy) -> str:
        return f"{policy.name}/{policy.manifest.get('kind', '')}"

    def held(self, policy: Policy) -> Mapping[str, Any] | None:
        self._reach()
        text = self.texts.get(self.place(policy))
        return None if text is None else {"text": text}

    def put(self, policy: Policy) -> None:
        self._reach()
        if self.strict:
            raise BadPolicy(["line 1: the engine does not like it"])
        self.texts[self.place(policy)] = policy.content

    def restore(self, policy: Policy, inverse: Mapping[str, Any] | None) -> None:
        self._reach()
        if inverse is None:
            self.texts.pop(self.place(policy), None)
        else:
            self.texts[self.place(policy)] = inverse["text"]

    def lacking(self, policy: Policy) -> list[str]:
        self._reach()
        if self.deaf:
            return ["the engine does not follow"]
        return [] if self.texts.get(self.place(policy)) == policy.content else ["the engine holds another text"]

    def _reach(self) -> None:
        if self.away:
            raise EngineAway("the engine does not answer; see that it runs")


class Bench:
    """A deployer over an engine in memory."""

    def __init__(self, folder: Path, fault: Callable[[str], None] = lambda _name: None, *, engine: bool = True) -> None:
        self.engine, self.judge, self.clock = FakeEngine(), FakeJudge(), ManualClock(1_790_000_000_000_000_000)
        self.shelf = Shelf(folder / "policies.sqlite", clock=self.clock)
        engines = {PolicyType.REGO: self.engine, PolicyType.KYVERNO: self.engine} if engine else {}
        self.deployer = Deployer(
            self.shelf,
            self.judge,  # type: ignore[arg-type]
            engines,
            verify_s=1.0,
            clock=self.clock,
            fault=fault,
        )

    def standing(self, name: str = "no-latest") -> str:
        status = self.deployer.status(name)
        assert status is not None
        return status.standing.value
