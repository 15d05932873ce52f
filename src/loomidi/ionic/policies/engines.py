"""Where policies are in force: an OPA server, or a cluster with Kyverno. One Protocol, two adapters.

Called by `deploying`. In: a policy. Out: what an engine holds under its name now (the inverse of what comes), the
change itself, and why a policy is not in force, which is asked of the engine each time. What is there and not ours is
never written over. Foreign faults come out as errors of this house.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.errors import BadPolicy, ChangedMeanwhile, Clash, ClusterRejects, EngineAway, PolicyHeld
from loomidi.ionic.policies.opa import POLICIES, Opa
from loomidi.ionic.policies.reading import judges_objects, verdict_rules
from loomidi.ionic.policies.records import Policy
from loomidi.ionic.policies.rego_judging import refusals
from loomidi.ionic.policies.samples import PROTECTED, samples

MANAGER = "loomidi/policy"  # the field manager of every write
NOTE_NAME, NOTE_DIGEST = "loomidi.io/policy", "loomidi.io/policy-digest"
_OURS = {"app.kubernetes.io/managed-by": "loomidi"}
_PLURALS = {"ClusterPolicy": "clusterpolicies", "Policy": "policies", "ValidatingPolicy": "validatingpolicies"}
Inverse = Mapping[str, Any] | None  # what an engine held; None: nothing


class Engine(Protocol):
    """Holds policies of one type in force."""

    name: str
    forgets: bool  # what it was given is gone when it starts again

    def place(self, policy: Policy) -> str:
        """Where it lies in the engine; a name keeps its place as long as it is in force."""
        ...

    def held(self, policy: Policy) -> Inverse:
        """What lies there now. Raises PolicyHeld when that is not ours."""
        ...

    def put(self, policy: Policy) -> None:
        """Have it in force. Raises BadPolicy, PolicyHeld, or a passing fault."""
        ...

    def restore(self, policy: Policy, inverse: Inverse) -> None:
        """Have there again what `held` gave, or nothing."""
        ...

    def lacking(self, policy: Policy) -> list[str]:
        """Why it is not in force; empty when it is, by what the engine itself says now."""
        ...


class OpaEngine:
    """Rego in an OPA server."""

    def __init__(self, opa: Opa) -> None:
        self._opa = opa
        self.name, self.forgets = "opa", True

    def place(self, policy: Policy) -> str:
        """Its id there."""
        return POLICIES + policy.name

    def held(self, policy: Policy) -> Inverse:
        """Its text there."""
        text = self._opa.read(self.place(policy))
        return None if text is None else {"text": text}

    def put(self, policy: Policy) -> None:
        """A package has one owner: rules of two modules in one package would be one policy."""
        others = [
            identity
            for identity, package in self._opa.packages().items()
            if package == policy.package and identity != self.place(policy)
        ]
        if others:
            raise PolicyHeld(f"package {policy.package} is that of {others[0]} in OPA; take another package")
        self._opa.put(self.place(policy), policy.content)

    def restore(self, policy: Policy, inverse: Inverse) -> None:
        """The text before, or none."""
        if inverse is None:
            self._opa.delete(self.place(policy))
        else:
            self._opa.put(self.place(policy), str(inverse["text"]))

    def lacking(self, policy: Policy) -> list[str]:
        """It holds this very text, and what must never be refused is not refused by it there."""
        text = self._opa.read(self.place(policy))
        if text is None:
            return [f"OPA holds no policy {self.place(policy)}"]
        if text != policy.content:
            return [f"OPA holds another text as {self.place(policy)}"]
        if not judges_objects(policy.content):
            return []
        rules = verdict_rules(policy.content)
        for sample in (one for one in samples() if one.group == PROTECTED):
            if against := refusals(self._opa.ask(policy.package, sample.question()), rules):
                return [f"in OPA it refuses {sample.told}: {against[0].rule}: {against[0].message}"]
        return []


class KyvernoEngine:
    """Kyverno's objects in a cluster."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self.name, self.forgets = "kyverno", False

    def place(self, policy: Policy) -> str:
        """Its path in the API."""
        manifest = policy.manifest
        namespace = manifest["metadata"].get("namespace")
        within = f"namespaces/{namespace}/" if namespace else ""
        return f"/apis/{manifest['apiVersion']}/{within}{_PLURALS[manifest['kind']]}/{policy.name}"

    def held(self, policy: Policy) -> Inverse:
        """The object there, without what the API server adds."""
        found = self._api.get(self.place(policy))
        if found is None:
            return None
        metadata = found.get("metadata", {})
        if metadata.get("annotations", {}).get(NOTE_NAME) != policy.name:
            raise PolicyHeld(
                f"{policy.manifest['kind']} {policy.name} is in the cluster and not ours; take another name, "
                f"or give it the annotation {NOTE_NAME}: {policy.name} to hand it over"
            )
        kept = {field: metadata[field] for field in ("name", "namespace", "labels", "annotations") if field in metadata}
        return {field: found[field] for field in ("apiVersion", "kind", "spec") if field in found} | {"metadata": kept}

    def put(self, policy: Policy) -> None:
        """Server-side apply; a field that somebody else has is not taken."""
        try:
            self._api.apply(self.place(policy), _marked(policy), MANAGER)
        except ClusterRejects as error:
            raise BadPolicy([str(error)]) from error
        except ChangedMeanwhile as error:
            kind = policy.manifest["kind"]
            raise EngineAway(
                f"no {kind} can be kept there ({error}); see that Kyverno and the namespace exist"
            ) from error
        except Clash as error:
            raise PolicyHeld(f"another manager has a field of it ({error}); let it go there first") from error

    def restore(self, policy: Policy, inverse: Inverse) -> None:
        """The object before, or none; ours alone, as `held` has made sure before the change."""
        found = self._api.get(self.place(policy))
        if inverse is not None:
            self._api.apply(self.place(policy), inverse, MANAGER, force=True)
        elif found is not None and found["metadata"].get("annotations", {}).get(NOTE_NAME) == policy.name:
            self._api.delete(self.place(policy), found["metadata"]["uid"])

    def lacking(self, policy: Policy) -> list[str]:
        """The object is there as it was applied, and Kyverno says that it is ready."""
        found = self._api.get(self.place(policy))
        if found is None:
            return [f"there is no {policy.manifest['kind']} {policy.name} in the cluster"]
        if found["metadata"].get("annotations", {}).get(NOTE_DIGEST) != policy.digest:
            return ["the object in the cluster is that of another version"]
        if not _holds(found.get("spec"), policy.manifest["spec"]):
            return ["somebody has changed the spec of the object in the cluster"]
        return _unready(found.get("status") or {}, int(found["metadata"].get("generation", 0)))


def _marked(policy: Policy) -> dict[str, Any]:
    """The manifest with whose it is."""
    metadata = dict(policy.manifest["metadata"])
    metadata["labels"] = {**metadata.get("labels", {}), **_OURS}
    notes = {NOTE_NAME: policy.name, NOTE_DIGEST: policy.digest}
    metadata["annotations"] = {**metadata.get("annotations", {}), **notes}
    return {**policy.manifest, "metadata": metadata}


def _holds(found: Any, applied: Any) -> bool:
    """Whether all that was applied is there; defaults of the API may be there beside it."""
    if isinstance(applied, Mapping):
        return isinstance(found, Mapping) and all(_holds(found.get(key), value) for key, value in applied.items())
    if isinstance(applied, list):
        return isinstance(found, list) and len(found) == len(applied) and all(map(_holds, found, applied))
    return bool(found == applied)


def _unready(status: Mapping[str, Any], generation: int) -> list[str]:
    """By the condition Ready (ClusterPolicy, Policy), or by `conditionStatus.ready` (ValidatingPolicy)."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            if condition.get("observedGeneration", generation) < generation:  # Kyverno leaves it out so far
                return ["Kyverno has not looked at this version yet"]
            why = condition.get("message") or condition.get("reason") or "no reason given"
            return [] if condition.get("status") == "True" else [f"Kyverno says that it is not ready: {why}"]
    told = status.get("conditionStatus") or {}
    if told.get("ready") is True:
        return []
    if told:
        return [f"Kyverno says that it is not ready: {told.get('message') or 'no reason given'}"]
    return ["no Kyverno has said that it is ready; see that its admission controller runs in the cluster"]
