"""The definitions and the operator's rights on an API server, as they are committed."""

from pathlib import Path
from typing import Any

import httpx
import yaml

from loomidi.fold.resources.objects import HOME
from tests.integration.kube.rooms import USER, wait

DEPLOYMENTS = Path(__file__).resolve().parents[4] / "deployments"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
_NAMED = {"apiGroup": "rbac.authorization.k8s.io"}
Object = dict[str, Any]


def establish(admin: httpx.Client) -> None:
    """The definitions, and the cluster-wide rights for the driver's user."""
    for file in sorted((DEPLOYMENTS / "crd").glob("*.yaml")):
        body = yaml.safe_load(file.read_text())
        applied(admin, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{body['metadata']['name']}", body)
    for plural in ("folds", "foldpolicies"):
        path = f"/apis/loomidi.io/v1alpha1/{plural}"
        wait(lambda path=path: admin.get(path).is_success, f"{plural} are served")  # type: ignore[misc]
    admin.post("/api/v1/namespaces", json={"metadata": {"name": HOME}})
    role = roles()["ClusterRole"]
    applied(admin, f"{RBAC}/clusterroles/{role['metadata']['name']}", role)
    binding = _binding(role) | {"kind": "ClusterRoleBinding"}
    applied(admin, f"{RBAC}/clusterrolebindings/{role['metadata']['name']}", binding)


def grant_lease(admin: httpx.Client, namespace: str) -> None:
    """The right to take turns, in this namespace instead of loomidi-system."""
    role = roles()["Role"]
    role["metadata"]["namespace"] = namespace
    name, inside = role["metadata"]["name"], f"{RBAC}/namespaces/{namespace}"
    applied(admin, f"{inside}/roles/{name}", role)
    applied(admin, f"{inside}/rolebindings/{name}", _binding(role) | {"kind": "RoleBinding"})


def grant_person(admin: httpx.Client, role: str, user: str) -> None:
    """One of the roles of people, bound to this user in the whole cluster."""
    text = (DEPLOYMENTS / "rbac" / "roles.yaml").read_text()
    body = next(one for one in yaml.safe_load_all(text) if one["metadata"]["name"] == role)
    applied(admin, f"{RBAC}/clusterroles/{role}", body)
    binding = _binding(body) | {"kind": "ClusterRoleBinding", "metadata": {"name": f"{role}-{user}"}}
    binding["subjects"] = [{"kind": "User", "name": user, **_NAMED}]
    applied(admin, f"{RBAC}/clusterrolebindings/{role}-{user}", binding)


def roles() -> dict[str, Object]:
    """What is shipped, by kind."""
    text = (DEPLOYMENTS / "rbac" / "fold-operator.yaml").read_text()
    return {role["kind"]: role for role in yaml.safe_load_all(text)}


def applied(admin: httpx.Client, path: str, body: Object) -> None:
    """Server-side apply."""
    kind = {"Content-Type": "application/apply-patch+yaml"}
    answer = admin.patch(path, json=body, params={"fieldManager": "tests", "force": "true"}, headers=kind)
    assert answer.is_success, answer.text


def _binding(role: Object) -> Object:
    return {
        "apiVersion": role["apiVersion"],
        "metadata": {name: role["metadata"][name] for name in ("name", "namespace") if name in role["metadata"]},
        "roleRef": {"kind": role["kind"], "name": role["metadata"]["name"], **_NAMED},
        "subjects": [{"kind": "User", "name": USER, **_NAMED}],
    }
