"""The definitions of Kyverno and of policy reports on an API server, and the rights of the policy API's user.

The definitions are those of Kyverno's Go module where it lies in Go's cache (`loomidi-lab build`, or any build of
Kyverno, puts it there). Elsewhere the tests make their own of the same groups and kinds, which know the few fields that
the tests use: then it is not Kyverno's schema that is tested against, and the run says so.
"""

import functools
import os
import re
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.kube.operator.granting import RBAC, applied
from tests.integration.kube.rooms import wait
from tests.rungs import ran

USER = "loomidi-policy"
ROLE = Path(__file__).resolve().parents[4] / "deployments" / "rbac" / "policy.yaml"
KINDS = {  # plural.group -> kind, whether namespaced, versions
    "clusterpolicies.kyverno.io": ("ClusterPolicy", False, ("v1", "v2beta1")),
    "policies.kyverno.io": ("Policy", True, ("v1", "v2beta1")),
    "validatingpolicies.policies.kyverno.io": ("ValidatingPolicy", False, ("v1", "v1beta1")),
    "policyreports.wgpolicyk8s.io": ("PolicyReport", True, ("v1alpha2",)),
    "clusterpolicyreports.wgpolicyk8s.io": ("ClusterPolicyReport", False, ("v1alpha2",)),
    "reports.openreports.io": ("Report", True, ("v1alpha1",)),
    "k8snolatest.constraints.gatekeeper.sh": ("K8sNoLatest", False, ("v1beta1",)),  # as Gatekeeper makes of a template
}
Object = dict[str, Any]


@functools.cache
def module(name: str = "kyverno/kyverno") -> Path | None:
    """The newest one in Go's cache of modules."""
    cache = Path(os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH", Path.home() / "go")) / "pkg" / "mod")
    found = sorted(cache.glob(f"github.com/{name}@v*"), key=lambda path: _numbers(path.name))
    return found[-1] if found else None


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def establish(admin: httpx.Client) -> None:
    """Definitions, role and binding."""
    folder = module()
    ran("Kyverno's definitions", folder.name.rpartition("@")[2] if folder else "made by the tests, not Kyverno's")
    for name in KINDS:
        body = _found(folder, name) or _found(module("openreports/reports-api"), name) or _made(name)
        applied(admin, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", body)
    for name, (_kind, _inside, versions) in KINDS.items():
        plural, _, group = name.partition(".")
        path = f"/apis/{group}/{versions[0]}/{plural}"
        wait(lambda path=path: admin.get(path).is_success, f"{plural} are served")  # type: ignore[misc]
    role = yaml.safe_load(ROLE.read_text())
    applied(admin, f"{RBAC}/clusterroles/{USER}", role)
    group = {"apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"kind": "ClusterRole", "name": USER, **group},
        "subjects": [{"kind": "User", "name": USER, **group}],
    }
    applied(admin, f"{RBAC}/clusterrolebindings/{USER}", binding)


def _found(folder: Path | None, name: str) -> Object | None:
    plural, _, group = name.partition(".")
    paths = list((folder / "config").glob(f"crd*/**/{group}_{plural}.yaml")) if folder else []
    if not paths:
        return None
    body: Object = yaml.load(paths[0].read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    body.pop("status", None)
    return body


ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXT = {"type": "string"}
RULE = {
    "name": TEXT, "match": ANYTHING, "exclude": ANYTHING,
    "validate": {"type": "object", "properties": {"message": TEXT, "failureAction": TEXT, "pattern": ANYTHING}},
}  # fmt: skip
RULES = {"type": "array", "items": {"type": "object", "properties": RULE}}
SPEC = {"type": "object", "properties": {"background": {"type": "boolean"}, "rules": RULES}}


def _made(name: str) -> Object:
    kind, inside, versions = KINDS[name]
    plural, _, group = name.partition(".")
    known = {"type": "object", "properties": {"spec": SPEC, "status": ANYTHING}}
    schema = known if kind in ("ClusterPolicy", "Policy") else ANYTHING
    served = [
        {"name": version, "served": True, "storage": not at, "schema": {"openAPIV3Schema": schema},
         "subresources": {"status": {}} if "report" not in name else {}}
        for at, version in enumerate(versions)
    ]  # fmt: skip
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    spec = {"group": group, "names": names, "scope": "Namespaced" if inside else "Cluster", "versions": served}
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}}
    if group.endswith("k8s.io"):  # groups that the API server keeps for itself unless they say that they were reviewed
        head["metadata"] = {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, tests"}}
    return head | {"spec": spec}
