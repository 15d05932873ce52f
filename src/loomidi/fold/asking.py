"""A person's word as a plan: the finding that it stands for, what it would cut, when it is void.

Called by `services.folds.desk` for `loomidi fold propose`. Pure. In: what shall be done, who asks, why. Out: a `Plan`
that guards judge like any other; the finding's source is `person/NAME`, so that an approval by that person is not
counted.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from loomidi.contracts import BlastRadius, Evidence, Finding, FoldKind, FoldSpec, Mode, Plan, Severity, content_id
from loomidi.fold.resources.specs import ACTIONS
from loomidi.ionic.decide.radius import measure
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import BadPlan

PERSON = "person/"  # the source of a finding that is a person's word
_UNDO: Mapping[FoldKind, str] = MappingProxyType(
    {
        FoldKind.ISOLATE_POD: "the quarantine label and the policy go, the labels that were removed come back",
        FoldKind.RECONFIGURE_NETWORK: "the policy goes",
        FoldKind.SCALE_OUT: "back to the number of replicas before",
        FoldKind.CORDON: "the node is opened again",
        FoldKind.RESIZE: "the resources before come back",
        FoldKind.RESTART: "it is restarted once more",
        FoldKind.ROLLBACK: "the revision of now comes back",
        FoldKind.EVICT: "there is no way back: its owner makes another",
        FoldKind.TERMINATE: "there is no way back: its owner, if any, makes another",
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Who asks, why, and how."""

    who: str
    why: str
    pattern: str = "asked"  # what policies are chosen by
    severity: Severity = Severity.HIGH
    mode: Mode = Mode.SHADOW
    lasts_s: float = 600.0  # until an approval of it is void


def only_action(kind: FoldKind) -> str:
    """The action of a kind that has one. Raises BadPlan for the others."""
    if len(ACTIONS[kind]) > 1:
        raise BadPlan(f"{kind} takes {' or '.join(ACTIONS[kind])} and a match: write it in a file (docs/folds.md)")
    return ACTIONS[kind][0]


def asked(fold: FoldSpec, request: Request, now_ns: int, finding: Finding | None = None) -> Plan:
    """The plan of this fold; `finding`: where there is one already."""
    finding = finding or _word(fold, request, now_ns)
    fold = dataclasses.replace(fold, because=finding.id, undo=fold.undo or _UNDO[fold.kind])
    radius: BlastRadius = measure(fold, finding, None, ())
    expires_ns = now_ns + round(request.lasts_s * 1e9)
    unnamed = Plan("", finding, fold, radius, request.mode, now_ns, expires_ns)
    return dataclasses.replace(unnamed, id=plan_id(unnamed))


def _word(fold: FoldSpec, request: Request, now_ns: int) -> Finding:
    content = {"who": request.who, "why": request.why, "target": fold.target, "at": now_ns}
    return Finding(
        id=fold.because or content_id("asked", content),
        pattern=request.pattern,
        techniques=(),
        severity=request.severity,
        confidence=1.0,
        entities=(fold.target,),
        first_ns=now_ns,
        last_ns=now_ns,
        evidence=(Evidence("word", request.why, meaning=f"{request.who} asks for it"),),
        source=f"{PERSON}{request.who}",
        explanation=f"{request.who} asks for it: {request.why}",
    )
