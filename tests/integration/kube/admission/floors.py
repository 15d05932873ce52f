"""The policies on an API server as they are committed, and requests in anybody's name with every right there is.

What RBAC would refuse never reaches a policy, so the requests here are made by an administrator who impersonates the
user with the group system:masters: what is refused then is refused by a policy alone.
"""

from typing import Any

import httpx
import yaml

from loomidi.fold.resources.objects import HOME
from tests.integration.kube.operator.granting import DEPLOYMENTS, RBAC, applied
from tests.integration.kube.operator.stages import Stage
from tests.integration.kube.rooms import USER, Room, wait

ADMISSION = DEPLOYMENTS / "admission"
GROUP = "/apis/admissionregistration.k8s.io/v1"
OTHER = f"system:serviceaccount:{HOME}:loomidi-pipeline"  # another account of ours
Object = dict[str, Any]
_MERGE = {"Content-Type": "application/merge-patch+json"}
_PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


def documents() -> list[Object]:
    """Everything of deployments/admission."""
    return [one for file in sorted(ADMISSION.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]


def install(admin: httpx.Client) -> None:
    """Policies, bindings and rights; back once they hold."""
    people = yaml.safe_load_all((ADMISSION.parent / "rbac" / "roles.yaml").read_text())
    for one in [*documents(), *people]:
        name = one["metadata"]["name"]
        if one["kind"] in _PLURALS:
            applied(admin, f"{GROUP}/{_PLURALS[one['kind']]}/{name}", one)
        else:
            applied(admin, f"{RBAC}/clusterroles/{name}", one)
    granted(admin, "loomidi-at-hand", USER)
    granted(admin, "loomidi-approver", "alice")
    wait(lambda: _holding(admin), "the policies hold", 30)


def granted(admin: httpx.Client, role: str, user: str) -> None:
    """A cluster role, to one user."""
    named = {"apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{role}-{user.rpartition(':')[2]}"},
        "roleRef": {"kind": "ClusterRole", "name": role, **named},
        "subjects": [{"kind": "User", "name": user, **named}],
    }
    applied(admin, f"{RBAC}/clusterrolebindings/{binding['metadata']['name']}", binding)  # type: ignore[index]


def disguised(user: str, *groups: str) -> list[tuple[str, str]]:
    """Headers of an administrator who asks as somebody else, by default with every right."""
    return [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups or ("system:masters",))]


def _holding(admin: httpx.Client) -> bool:
    """Each of the policies has refused something: they come into force one by one."""
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "a", "image": "none"}]}}
    bad = {**pod, "spec": {**pod["spec"], "hostPID": True}}
    named = {"metadata": {"name": "probe"}}
    asked = {
        "nothing-else": (USER, "/api/v1/namespaces/default/configmaps", named),
        "acts": (USER, "/api/v1/namespaces/default/pods", pod),
        "namespaces": (USER, "/api/v1/namespaces", named),
        "nodes": (USER, "/api/v1/nodes", named),
        "harmless": (OTHER, "/api/v1/namespaces/default/pods", bad),
        "protected": (OTHER, "/api/v1/namespaces/kube-public/configmaps", named),
    }
    told = {name: admin.post(path, json=body, headers=disguised(user)) for name, (user, path, body) in asked.items()}
    return all(answer.status_code == 403 and f"'loomidi-{name}'" in answer.text for name, answer in told.items())


class FloorStage(Stage):
    """Approvals are written by who gives them."""

    at_hand = True

    def annotate(self, plan: Any, notes: dict[str, str]) -> None:
        """As whoever the approval is of; everything else as an administrator."""
        for name, text in notes.items():
            prefix, _, who = name.partition("/")
            headers = disguised(who, "system:authenticated") if prefix == "approval.loomidi.io" else []
            change = {"metadata": {"annotations": {name: text}}}
            answer = self.room.admin.patch(self.path(plan), json=change, headers=[*_MERGE.items(), *headers])
            assert answer.is_success, answer.text


class Floor:
    """Requests in one namespace."""

    def __init__(self, room: Room) -> None:
        self.room, self.admin, self.namespace = room, room.admin, room.namespace

    def ask(self, user: str, method: str, path: str, body: Object | None = None, **more: Any) -> httpx.Response:
        """As this user, with every right."""
        kind = _MERGE if method == "PATCH" else {"Content-Type": "application/json"}
        headers = [*kind.items(), *more.pop("headers", disguised(user))]
        return self.admin.request(method, path.format(self.namespace), json=body, headers=headers, **more)

    def refused(self, user: str, method: str, path: str, body: Object | None = None, **more: Any) -> str:
        """The words of the policy that refuses it."""
        answer = self.ask(user, method, path, body, **more)
        assert answer.status_code in (403, 422), (answer.status_code, answer.text)
        assert "ValidatingAdmissionPolicy 'loomidi-" in answer.text, answer.text
        return str(answer.json()["message"])

    def allowed(self, user: str, method: str, path: str, body: Object | None = None, **more: Any) -> Object:
        """The object as it is stored."""
        answer = self.ask(user, method, path, body, **more)
        assert answer.is_success, answer.text
        stored: Object = answer.json()
        return stored
