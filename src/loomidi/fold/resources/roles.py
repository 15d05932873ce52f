"""What people may do with Folds and policies, role by role: viewer, operator, approver, admin.

Called by `tools/rbac.py`, which writes `deployments/rbac/roles.yaml`. Data only. Nobody may write the status of a Fold:
that is how the operator says what it has done. The verb `approve` is asked for by the policies of
`deployments/admission`. Binding a role to a person is left to whoever installs Loomidi.
"""

from collections.abc import Mapping
from types import MappingProxyType

from loomidi.fold.resources.definitions import GROUP
from loomidi.ionic.act.kube import Rule

_SEE = (
    Rule(GROUP, ("folds", "foldpolicies"), ("get", "list", "watch"), "see what is proposed, done and held, and why"),
)
_PROPOSE = (
    Rule(GROUP, ("folds",), ("create",), "propose a Fold; guards and operator judge it like any other"),
    Rule("", ("pods",), ("get",), "find the address of the pod that a proposal is about"),
)
_ANNOTATE = "a changed spec is judged again, and no longer what its plan says"
ROLES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "loomidi-viewer": _SEE,
        "loomidi-operator": (
            *_SEE,
            *_PROPOSE,
            Rule(GROUP, ("folds",), ("patch",), f"deny and release, by annotation; {_ANNOTATE}"),
        ),
        "loomidi-approver": (
            *_SEE,
            Rule(GROUP, ("folds",), ("patch", "approve"), f"approve, by a signed annotation, and deny; {_ANNOTATE}"),
        ),
        "loomidi-admin": (
            *_SEE,
            *_PROPOSE,
            Rule(
                GROUP, ("folds",), ("patch", "approve", "delete"), "deny, release, approve; deleted is taken back first"
            ),
            Rule(
                GROUP,
                ("foldpolicies",),
                ("create", "update", "patch", "delete"),
                "say what may be done, how far and how fast, and pause it",
            ),
        ),
    }
)
