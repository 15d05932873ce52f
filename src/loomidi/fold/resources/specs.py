"""The spec of a Fold: one remediation, why it is wanted, what it would cut, and how it is judged afterwards.

Called by `folds`; `policies` takes the actions and the probes from here. In: the contracts' `FoldSpec` and `Plan`, the
limits of `ionic.decide`. Out: a schema whose rules say what to change. What needs the world (does the pod exist, is the
namespace protected, who may approve) is left to the guards and the operator.
"""

from collections.abc import Mapping
from types import MappingProxyType

from loomidi.contracts import FoldKind, FoldSpec, Mode
from loomidi.fold.resources import judging, schemas
from loomidi.fold.resources.probing import verify
from loomidi.fold.resources.records import fields_of
from loomidi.fold.resources.schemas import Fields, Schema, joined, literal, rule
from loomidi.ionic.decide import Limits

LIMITS = Limits()
MOST_PPS = 100_000_000
ACTIONS: Mapping[FoldKind, tuple[str, ...]] = MappingProxyType(
    {
        FoldKind.ISOLATE_POD: ("isolate",),
        FoldKind.RECONFIGURE_NETWORK: ("rate", "drop", "eject"),
        FoldKind.SCALE_OUT: ("scale",),
        FoldKind.CORDON: ("cordon",),
        FoldKind.EVICT: ("evict",),
        FoldKind.RESIZE: ("resize",),
        FoldKind.RESTART: ("restart",),
        FoldKind.ROLLBACK: ("rollback",),
        FoldKind.TERMINATE: ("terminate",),
    }
)
MEANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "drop": ("agent", "networkpolicy", "cilium", "istio"),
        "rate": ("agent",),
        "eject": ("istio",),
    }
)
_MEANING: Mapping[FoldKind, str] = MappingProxyType(
    {
        FoldKind.ISOLATE_POD: "cuts a pod off",
        FoldKind.RECONFIGURE_NETWORK: "drops or slows what a match names, or ejects a service's failing endpoints",
        FoldKind.SCALE_OUT: "adds replicas",
        FoldKind.CORDON: "closes a node to new pods",
        FoldKind.EVICT: "lets a pod go, so that its owner makes another",
        FoldKind.RESIZE: "gives a pod other resources",
        FoldKind.RESTART: "restarts a workload",
        FoldKind.ROLLBACK: "takes a workload back to its revision before",
        FoldKind.TERMINATE: "ends a pod",
    }
)
_TARGETS: Mapping[FoldKind, tuple[str, ...]] = MappingProxyType(
    {
        FoldKind.ISOLATE_POD: ("pod",),
        FoldKind.SCALE_OUT: ("workload", "service", "pod"),
        FoldKind.CORDON: ("node",),
        FoldKind.EVICT: ("pod",),
        FoldKind.RESIZE: ("pod",),
        FoldKind.RESTART: ("workload",),
        FoldKind.ROLLBACK: ("workload",),
        FoldKind.TERMINATE: ("pod",),
    }
)


def kind(description: str) -> Schema:
    """One of the kinds, each with its meaning."""
    meaning = ", ".join(f"{one} {_MEANING[one]}" for one in FoldKind)
    return schemas.choice(f"{description} {meaning}.", FoldKind)


def action(description: str) -> Schema:
    """One of the actions of any kind."""
    return {"description": description, "type": "string", "enum": [name for of in ACTIONS.values() for name in of]}


def fitting(what: str = "spec.") -> dict[str, str]:
    """The rule that an action is one of its kind's."""
    table, choices = literal(ACTIONS), joined(ACTIONS, " or ")
    return rule(
        f"self.action in {table}[self.kind]",
        f"the action does not fit the kind: change {what}action or {what}kind",
        told=f"'kind ' + self.kind + ' takes the action ' + {choices}[self.kind] + ', not ' + self.action"
        f" + ': change {what}action or {what}kind'",
        at=".action",
    )


def ttl(description: str, **more: object) -> Schema:
    """Seconds that a fold may last."""
    least, most = int(LIMITS.min_ttl_s), int(LIMITS.max_ttl_s)
    return schemas.checked(
        {"description": description, "type": "integer", "format": "int64", **more},
        rule(
            f"self >= {least} && self <= {most}",
            f"a Fold lasts {least} to {most} seconds: a longer change is one of configuration, made by a person",
        ),
    )


def spec() -> Schema:
    """The whole spec."""
    about = "What shall be done, and why. Fixed as soon as the Fold is Approved."
    schema = schemas.thing(about, _fields(), required=("kind", "target", "action", "ttlSeconds", "because"))
    return schemas.checked(schema, *_rules())


def _fields() -> Fields:
    told = {
        "because": "Id of the finding that it answers, or in a word why a person wants it.",
    }
    given = {
        "kind": kind("The remediation:"),
        "target": judging.entity(
            "What is acted on, as <kind>/<name>: pod/shop/cart-0, workload/shop/cart, host/192.0.2.7."
        ),
        "action": action(
            "How: drop, rate or eject for RECONFIGURE_NETWORK; each other kind has one of its own, such as isolate."
        ),
        "match": judging.match(),
        "rate_pps": schemas.whole("Packets per second that are let through when the action is rate.", most=MOST_PPS),
        "burst": schemas.whole("Packets that may come at once when the action is rate.", most=MOST_PPS),
        "replicas": schemas.whole("Replicas that are added when the action is scale."),
        "ttl_s": ttl("Seconds after which it is taken back by itself."),
        "manifest": schemas.opaque(
            "The Kubernetes object that it becomes.", **{"x-kubernetes-embedded-resource": True}
        ),
        "undo": schemas.text("How it is taken back, in words.", most=schemas.LONG),
        "means": _means(),
    }
    fields = fields_of(FoldSpec, told, but=given, without=("thresholds",))  # of one node, never of a cluster
    fields["because"] |= {"minLength": 1}
    return fields | {
        "mode": schemas.choice(
            "How far it may go without a person; shadow touches nothing.", Mode, default=Mode.SHADOW.value
        ),
        "finding": judging.finding(),
        "blastRadius": judging.blast_radius(),
        "plan": _plan(),
        "policy": schemas.text("Name of the FoldPolicy that led to it; empty when a person made it."),
        "escalatesFrom": schemas.text(
            "Name of the Fold here whose place it takes: the step below on the policy's ladder, which did not help.",
            most=253,
        ),
        "verify": verify("How it is judged once it is applied; the policy's where it is left out."),
    }


def _means() -> Schema:
    about = (
        "By what a RECONFIGURE_NETWORK is carried out: the nodes' agents, a NetworkPolicy, a CiliumNetworkPolicy, or"
        " Istio's objects. Left out, the operator takes what the cluster has."
    )
    return {"description": about, "type": "string", "enum": list(MEANS["drop"])}


def _plan() -> Schema:
    """The plan's own fields beside finding, fold and radius."""
    fields = {
        "id": schemas.text("Id of the plan, bound to its content: a changed plan is another plan.", minLength=1),
        "createdTime": schemas.moment("When the plan was made."),
        "expiresTime": schemas.moment("When an approval of it is void."),
    }
    schema = schemas.thing("The plan that the guards judged.", fields, required=fields)
    later = rule(
        "self.expiresTime > self.createdTime", "a plan ends after it was made: change expiresTime", at=".expiresTime"
    )
    return schemas.checked(schema, later)


def _rules() -> list[dict[str, str]]:
    return [fitting(), *_scaling(), *_limiting(), *_aiming(), *_carrying(), *_standing()]


def _scaling() -> list[dict[str, str]]:
    most = LIMITS.max_replicas
    return [
        rule(
            f"self.kind == '{FoldKind.SCALE_OUT}' || !has(self.replicas) || self.replicas == 0",
            f"only {FoldKind.SCALE_OUT} adds replicas: remove spec.replicas, or change spec.kind",
            at=".replicas",
        ),
        rule(
            f"self.kind != '{FoldKind.SCALE_OUT}'"
            f" || (has(self.replicas) && self.replicas >= 1 && self.replicas <= {most})",
            f"{FoldKind.SCALE_OUT} says how many replicas to add: set spec.replicas to 1 to {most}",
            at=".replicas",
        ),
    ]


def _limiting() -> list[dict[str, str]]:
    return [
        rule(
            "self.action == 'rate' || ((!has(self.ratePps) || self.ratePps == 0)"
            " && (!has(self.burst) || self.burst == 0))",
            "only the action rate has a rate: remove spec.ratePps and spec.burst, or change spec.action",
            at=".ratePps",
        ),
        rule(
            "self.action != 'rate' || (has(self.ratePps) && self.ratePps >= 1)",
            "the action rate says what it lets through: set spec.ratePps to 1 or more packets per second",
            at=".ratePps",
        ),
    ]


def _aiming() -> list[dict[str, str]]:
    """Which packets and which kind of target."""
    network, table = FoldKind.RECONFIGURE_NETWORK.value, literal(_TARGETS)
    some = "has(self.match.source) && self.match.source != ''"
    return [
        rule(
            f"self.kind != '{network}' || self.action != 'drop' || (has(self.match) && {some})",
            "a drop names who is dropped: set spec.match.source to an address or CIDR",
        ),
        rule(
            f"self.kind != '{network}' || self.action != 'rate' || (has(self.match) && (({some})"
            " || (has(self.match.destination) && self.match.destination != '')))",
            "a rate names whose packets are limited: set spec.match.source or spec.match.destination",
        ),
        rule(
            f"!(self.kind in {table}) || self.target.split('/')[0] in {table}[self.kind]",
            "the target does not fit the kind: change spec.target or spec.kind",
            told=f"'kind ' + self.kind + ' acts on a ' + {joined(_TARGETS, ' or ')}[self.kind]"
            " + ', not on ' + self.target + ': change spec.target'",
            at=".target",
        ),
        rule(
            f"self.kind != '{FoldKind.ISOLATE_POD}' || self.target.split('/').size() == 3",
            "a pod is named with its namespace: set spec.target to pod/NAMESPACE/NAME",
            at=".target",
        ),
    ]


def _carrying() -> list[dict[str, str]]:
    """By what a network is changed, and whose endpoints are ejected."""
    table = literal(MEANS)
    return [
        rule(
            f"!has(self.means) || (self.action in {table} && self.means in {table}[self.action])",
            "the means does not fit the action: remove spec.means, or change spec.action",
            told=f"!(self.action in {table}) ? 'only a RECONFIGURE_NETWORK has a means: remove spec.means'"
            f" : 'the action ' + self.action + ' is carried out by ' + {joined(MEANS, ' or ')}[self.action]"
            " + ', not by ' + self.means + ': change spec.means, or remove it'",
            at=".means",
        ),
        rule(
            "self.action != 'eject' || (self.target.startsWith('service/') && self.target.split('/').size() == 3)",
            "endpoints are ejected from one service: set spec.target to service/NAMESPACE/NAME",
            at=".target",
        ),
    ]


def _standing() -> list[dict[str, str]]:
    return [
        rule(
            "!has(self.finding) || self.finding.id == self.because",
            "a Fold rests on the finding that it names: set spec.because to spec.finding.id",
            at=".because",
        )
    ]
