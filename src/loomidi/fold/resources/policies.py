"""The resource `FoldPolicy`: which findings may lead to which folds, how far, how fast, and what is never touched.

Called by `tools/crds.py`. In: the contracts' kinds, modes and severities, the limits of `ionic.decide`. Out: its
CustomResourceDefinition. A policy that says nothing but what it allows stays in mode shadow. Choosing the policy for a
finding, counting against the brakes and asking for approvals is left to the operator.
"""

from typing import Any

from loomidi.contracts import FoldKind, Mode, Severity
from loomidi.fold.resources import schemas
from loomidi.fold.resources.braking import brakes
from loomidi.fold.resources.definitions import AGE, Names, column, definition, root
from loomidi.fold.resources.probing import verify
from loomidi.fold.resources.schemas import Fields, Schema, literal, rule
from loomidi.fold.resources.specs import LIMITS, action, fitting, kind, ttl
from loomidi.fold.resources.statuses import conditions, observed_generation

NAMES = Names("FoldPolicy", "foldpolicies", ("fpol",), "Cluster")
TTL_S, MAX_TTL_S, APPROVAL_S = 300, 900, 600
PROTECTED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
PROTECTED_LABEL = "loomidi.io/protected"
_ABOUT = "What may be done by itself, by whose leave, and where to stop. Without one that matches, nothing is folded."
_SELECTABLE = (".spec.mode",)
_RANKS = literal({mode.value: rank for rank, mode in enumerate(Mode)})
_SHADOW = Mode.SHADOW.value


def fold_policy_definition() -> dict[str, Any]:
    """The CustomResourceDefinition of FoldPolicy."""
    return definition(NAMES, root(_ABOUT, spec(), status()), _columns(), _SELECTABLE)


def spec() -> Schema:
    """The whole spec."""
    fields = {
        "priority": schemas.whole(
            "Among policies that match the highest decides; at a tie the first by name.", default=0, most=1000
        ),
        "mode": schemas.choice("The furthest that a Fold may go by this policy.", Mode, default=_SHADOW),
        "when": _when(),
        "allow": schemas.keyed(
            "The folds that may follow; what is not listed may not.", _allowed(), "kind", most=len(FoldKind) * 4
        ),
        "ttl": _ttl(),
        "approvals": _approvals(),
        "brakes": brakes(),
        "escalation": _escalation(),
        "replay": _replay(),
        "verify": schemas.defaulted(verify("How a Fold is judged once it is applied.")),
        "protect": _protect(),
    }
    schema = schemas.thing("What it allows and where it stops.", fields, required=("when", "allow"))
    return schemas.checked(schema, *_rules())


def _rules() -> list[dict[str, str]]:
    own = "(has(a.mode) ? a.mode : self.mode)"
    people = "has(self.approvals) && self.approvals.required >= 1"
    return [
        rule(
            f"self.allow.all(a, !has(a.mode) || {_RANKS}[a.mode] <= {_RANKS}[self.mode])",
            "an allowed kind goes further than spec.mode: raise spec.mode, or lower the mode of the kind",
            at=".allow",
        ),
        rule(
            f"!self.allow.exists(a, {own} == '{Mode.SUGGEST}') || ({people})",
            "mode suggest asks a person: set spec.approvals.required to 1 or more",
            at=".approvals",
        ),
        rule(
            "!has(self.escalation) || self.escalation.steps.all(s, self.allow.exists(a, a.kind == s.kind))",
            "a step of the escalation is of a kind that is not allowed: add it to spec.allow, or remove the step",
            at=".escalation",
        ),
    ]


def _when() -> Schema:
    pattern = schemas.text(
        "A detection, such as syn_flood; * is every one.", most=63, pattern=r"^(\*|[a-z][a-z0-9_]*)$"
    )
    confidence = "How sure the detector must be, from 0 to 1; the guards ask for their own least besides."
    fields: Fields = {
        "patterns": schemas.listing(
            "What must have been found.", pattern, most=64, minItems=1, **{"x-kubernetes-list-type": "set"}
        ),
        "severities": _severities(),
        "minConfidence": schemas.fraction(confidence, default=LIMITS.sure),
        "namespaceSelector": schemas.selector(
            "Namespaces of the targets, by their labels; left out: all that are not protected."
        ),
        "targetSelector": schemas.selector("Pods or workloads that are targets, by their labels; left out: all."),
    }
    return schemas.thing("Which findings it is about; all that is given must fit.", fields, required=("patterns",))


def _severities() -> Schema:
    one = {"description": "One severity.", "type": "string", "enum": _acting()}
    default = {"default": [Severity.HIGH.value, Severity.CRITICAL.value]}
    about = "How bad it must be; information never leads to a Fold."
    return schemas.listing(about, one, most=len(Severity), minItems=1, **{"x-kubernetes-list-type": "set"} | default)


def _acting() -> list[str]:
    return [severity.value for severity in Severity if severity is not Severity.INFO]


def _allowed() -> Schema:
    fields = {
        "kind": kind("The remediation:"),
        "mode": schemas.choice("How far this kind may go; left out: spec.mode.", Mode),
        "actions": schemas.listing(
            "Actions that it may take; left out: all of the kind.",
            action("An action of the kind."),
            most=8,
            minItems=1,
            **{"x-kubernetes-list-type": "set"},
        ),
        "maxReplicas": schemas.whole(
            "Replicas that one Fold may add.", least=1, most=LIMITS.max_replicas, default=LIMITS.max_replicas
        ),
    }
    each = fitting()["rule"].replace("self.action", "one")
    fits = rule(
        f"!has(self.actions) || self.actions.all(one, {each})",
        "an action does not fit the kind: remove it",
        at=".actions",
    )
    return schemas.checked(schemas.thing("A kind of Fold that may follow.", fields, required=("kind",)), fits)


def _ttl() -> Schema:
    fields = {
        "defaultSeconds": ttl("Seconds that a Fold lasts when nothing says otherwise.", default=TTL_S),
        "maxSeconds": ttl("Seconds that a Fold may last, extensions included.", default=MAX_TTL_S),
    }
    inside = rule(
        "self.defaultSeconds <= self.maxSeconds",
        "the default is longer than the longest: lower defaultSeconds, or raise maxSeconds",
        at=".defaultSeconds",
    )
    return schemas.checked(schemas.defaulted(schemas.thing("How long a Fold lasts.", fields)), inside)


def _approvals() -> Schema:
    fields = {
        "required": schemas.whole(
            "Persons who must approve; 0: the guards are enough, where the mode says so.", most=8, default=0
        ),
        "groups": schemas.texts("Groups whose members may approve; none: everybody with the role.", "A group."),
        "timeoutSeconds": schemas.whole(
            "Seconds after which a Fold that nobody approved is handed on; after as many again it expires.",
            least=1,
            most=86_400,
            default=APPROVAL_S,
        ),
        "escalateTo": schemas.texts("Groups that are asked once nobody answered in time.", "A group."),
    }
    return schemas.defaulted(schemas.thing("Whose leave it takes.", fields))


def _escalation() -> Schema:
    fields = {
        "kind": kind("The remediation of this step:"),
        "action": action("Its action."),
        "afterSeconds": schemas.whole(
            "Seconds for which the finding must go on while the step before is in force; the first needs none.",
            least=1,
            most=86_400,
        ),
    }
    step = schemas.thing("One step.", fields, required=("kind", "action", "afterSeconds"))
    ladder = schemas.listing(
        "The steps, gentlest first; one that the finding has no answer for is passed by.",
        schemas.checked(step, fitting("")),
        most=8,
        minItems=1,
    )
    about = (
        "What follows while a Fold is in force and does not help, a step at a time, each a Fold of its own that is"
        " judged like any other; left out: nothing follows, and after the end the order in which folds are proposed."
    )
    return schemas.thing(about, {"steps": ladder}, required=("steps",))


def _replay() -> Schema:
    fields = {
        "required": schemas.flag(
            "Whether a Fold has to say what it would have cut of the flows that were kept; one that cannot is denied.",
            default=False,
        ),
        "maxShareOfOctets": schemas.fraction("Of all octets in that time, that it may have cut; left out: any."),
    }
    about = "What the flows of the last hour must say before a Fold acts by itself, in mode guarded or autonomous."
    return schemas.defaulted(schemas.thing(about, fields))


def _protect() -> Schema:
    always = PROTECTED_NAMESPACES[0]
    namespaces = schemas.checked(
        schemas.texts("Namespaces in which nothing is touched.", "A namespace.", default=list(PROTECTED_NAMESPACES)),
        rule(f"'{always}' in self", f"{always} is always protected: add it to spec.protect.namespaces"),
    )
    network = schemas.checked(
        schemas.text("An address or a CIDR.", most=43),
        rule("isIP(self) || isCIDR(self)", "this is neither an address nor a CIDR: give 10.0.0.1 or 10.0.0.0/24"),
    )
    exists = {"matchExpressions": [{"key": PROTECTED_LABEL, "operator": "Exists"}]}
    fields = {
        "namespaces": namespaces,
        "selector": schemas.selector("Pods, workloads and nodes that are never touched, by their labels.")
        | {"default": exists},
        "networks": schemas.listing(
            "Addresses that are never cut.", network, most=256, **{"x-kubernetes-list-type": "set"}
        ),
    }
    return schemas.defaulted(schemas.thing("What is never touched, whatever is found.", fields))


def status() -> Schema:
    """The whole status."""
    fields = {
        "observedGeneration": observed_generation(),
        "message": schemas.text("What it does at the moment, in a sentence.", most=schemas.LONG),
        "active": schemas.whole("Folds that are in force by it."),
        "waiting": schemas.whole("Folds that wait for a brake, for persons, or for the end of their plan."),
        "denied": schemas.whole("Folds that were denied, of those that are still there."),
        "held": schemas.text("The brakes that hold Folds at the moment, each with how many.", most=1024),
        "tokens": schemas.whole("Folds that the token bucket would let through now."),
        "lastFoldTime": schemas.moment("When a Fold was last begun by it."),
        "storm": schemas.flag("Whether storm mode is on."),
        "conditions": conditions("Ready, Paused, Storm"),
    }
    return schemas.thing("How it is doing. Written by the operator only.", fields)


def _columns() -> list[dict[str, Any]]:
    ready = '.status.conditions[?(@.type=="Ready")].status'
    return [
        column("Mode", ".spec.mode", "The furthest that a Fold may go."),
        column("Active", ".status.active", "Folds in force by it.", kind="integer"),
        column("Waiting", ".status.waiting", "Folds that wait for a brake or for persons.", kind="integer"),
        column("Denied", ".status.denied", "Folds that were denied.", kind="integer"),
        column("Held", ".status.held", "The brakes that hold Folds at the moment."),
        column("Approvals", ".spec.approvals.required", "Persons who must approve.", kind="integer"),
        column("Paused", ".spec.brakes.pause.reason", "Why nothing is folded at the moment."),
        column("Ready", ready, "Whether the operator follows it."),
        AGE,
        column("Priority", ".spec.priority", "The highest that matches decides.", wide=True, kind="integer"),
        column("TTL", ".spec.ttl.defaultSeconds", "Seconds that a Fold lasts.", wide=True, kind="integer"),
        column("Message", ".status.message", "What it does at the moment.", wide=True),
    ]
