"""What a policy is asked about before it is in force: our library's samples, and what must never be refused.

Called by the judges. In: nothing, the files of rules/guardrails. Out: samples with the input document of each. The
protected set is in protected.yaml: our own parts, what the operator writes, what the cluster stands on.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loomidi.ionic.manifests import read_manifests
from loomidi.origami.online.rules import rules_folder

ALLOWED, REFUSED, PROTECTED = "allowed", "refused", "protected"
_OPERATOR = "system:serviceaccount:loomidi-system:loomidi-operator"


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One thing to be judged. `id`: such as `allowed/privileged.yaml#1`."""

    id: str
    group: str  # allowed, refused or protected
    subject: str  # object or plan
    document: Mapping[str, Any]  # the object; or plan and facts

    @property
    def told(self) -> str:
        """For a person."""
        if self.subject == "plan":
            return f"plan {self.document['plan'].get('id', '')} ({self.id})"
        return f"{named(self.document)} ({self.id})"

    def question(self) -> dict[str, Any]:
        """The input of a Rego policy: as conftest, as Gatekeeper and as OPA's admission webhook would give it."""
        return dict(self.document) if self.subject == "plan" else admission(self.document)


def named(manifest: Mapping[str, Any]) -> str:
    """Kind, namespace and name of an object, as far as it has them."""
    metadata = manifest.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    place = "/".join(str(names[part]) for part in ("namespace", "name") if names.get(part))
    return f"{manifest.get('kind', 'object')} {place}".strip()


def admission(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object itself, and the two envelopes that policies know it in."""
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    metadata = manifest.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    request = {
        "uid": "00000000-0000-0000-0000-000000000000",
        "operation": "CREATE",
        "kind": {"group": group, "version": version, "kind": manifest.get("kind", "")},
        "namespace": names.get("namespace", ""),
        "name": names.get("name", ""),
        "userInfo": {"username": _OPERATOR, "groups": ["system:serviceaccounts", "system:authenticated"]},
        "object": manifest,
        "oldObject": None,
    }
    return {**manifest, "object": manifest, "review": request, "request": request}


@functools.cache
def samples() -> tuple[Sample, ...]:
    """All of them; read once. Raises EnvironmentLacks when the rules are not installed."""
    base = rules_folder("guardrails")
    return (*_objects(base), *_protected(base), *_plans(base))


def _objects(base: Path) -> Iterator[Sample]:
    for group in (ALLOWED, REFUSED):
        for path in sorted((base / "kubernetes" / "samples" / group).glob("*.yaml")):
            for number, manifest in enumerate(read_manifests(path.read_text(encoding="utf-8")), 1):
                yield Sample(f"{group}/{path.name}#{number}", group, "object", manifest)


def _protected(base: Path) -> Iterator[Sample]:
    manifests = read_manifests((base / "protected.yaml").read_text(encoding="utf-8"))
    for number, manifest in enumerate(manifests, 1):
        yield Sample(f"protected.yaml#{number}", PROTECTED, "object", manifest)


def _plans(base: Path) -> Iterator[Sample]:
    for group in (ALLOWED, REFUSED):
        for path in sorted((base / "samples" / group).glob("*.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            yield Sample(f"{group}/{path.name}", group, "plan", {key: document[key] for key in ("plan", "facts")})
