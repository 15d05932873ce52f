"""A Fold as brakes count it: whose it is, where it acts, and when it was made, begun and ended.

Called by `surrounding` and `running`. Pure. In: a Fold as the API server has it. Out: a frozen `Counted`, or why it
cannot be read: whoever counts holds the brake then. Times come from the object: its receipts, its phase, the API
server's own stamp. A collection of Folds reads each once, when it is told (`with_count`).
"""

import dataclasses
from typing import Any

from loomidi.contracts import FoldKind, LoomidiError, Step
from loomidi.fold.operator.views import PIN, Object, View
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.resources.phases import Phase

_KEPT = "counted"
TAKING = (FoldKind.ISOLATE_POD, FoldKind.EVICT, FoldKind.TERMINATE)  # kinds by which a pod no longer serves


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """One Fold. Times are ns since the epoch, 0 where it has not come so far."""

    key: str
    policy: str  # '' when none is named yet
    phase: Phase | None
    target: str
    namespace: str
    workload: str
    node: str
    pattern: str
    finding: str
    takes: bool
    made_ns: int
    seen_ns: int  # when what it answers was seen last
    begun_ns: int
    ended_ns: int
    until_ns: int  # when it is taken back at the latest
    held: str  # the brake that holds it
    kind: str = ""
    action: str = ""
    since_ns: int = 0  # when it entered its phase
    replaces: str = ""  # key of the Fold whose place it takes, on the ladder of its policy
    pinned: str = ""  # why no other may follow it

    @property
    def active(self) -> bool:
        """Whether there may be an effect that nobody has taken back."""
        return self.begun_ns > 0 and not self.ended_ns


def with_count(obj: Object) -> dict[str, Any]:
    """The same object with what brakes need of it, without whose field is whose: half of its octets, never read."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return {**obj, "metadata": metadata, _KEPT: _tried(obj)}


def counted(obj: Object) -> Counted | str:
    """One as it was read when it was told, else read now; why it cannot be."""
    kept: Counted | str | None = obj.get(_KEPT)
    return _tried(obj) if kept is None else kept


def _tried(obj: Object) -> Counted | str:
    try:
        return _read(obj)
    except (LoomidiError, LookupError, ValueError, TypeError) as error:
        return f"Fold {View(obj).key} cannot be read ({type(error).__name__}: {error}); look at it, or delete it"


def _read(obj: Object) -> Counted:
    view = View(obj)
    spec, target, finding = view.spec, view.status.get("target") or {}, view.spec.get("finding") or {}
    begun = next((one for one in view.receipts if one["step"] == Step.INTENT), None)
    return Counted(
        key=view.key,
        policy=view.status.get("policy") or spec.get("policy", ""),
        phase=view.phase,
        target=spec["target"],
        namespace=view.metadata["namespace"],
        workload=target.get("workload") or spec["target"],
        node=target.get("node", ""),
        pattern=finding.get("pattern", ""),
        finding=spec.get("because", ""),
        takes=spec["kind"] in TAKING,
        made_ns=nanoseconds(view.metadata["creationTimestamp"]),
        seen_ns=nanoseconds(finding["lastTime"]) if finding.get("lastTime") else 0,
        begun_ns=nanoseconds(begun["atTime"]) if begun else 0,
        ended_ns=view.at("since") if view.over else 0,
        until_ns=view.at("until"),
        held=view.condition("Held").get("reason", "") if view.holding else "",
        kind=spec["kind"],
        action=spec.get("action", ""),
        since_ns=view.at("since"),
        replaces=view.replaces,
        pinned=view.noted(PIN),
    )
