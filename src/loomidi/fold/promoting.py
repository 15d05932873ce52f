"""Whether a FoldPolicy may go further: what it led to of late, on whom, what that would have cut.

Called by `services.folds.promoting`. Pure. In: a FoldPolicy and the Folds that were judged by it, as the API server has
them or as they were kept when they were removed. Out: a `Report` with a verdict and every reason, and whether a step of
the mode may follow. Its hash covers all of it, the policy's spec included. Reading and writing are left to the caller.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import LoomidiError, Mode, Plan, Refused
from loomidi.fold.operator.views import DENY, Object, View
from loomidi.fold.resources.objects import nanoseconds, plan_of
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.documents import canonical

DAYS = 7.0  # that a policy has to have been in its mode before it may go further
DENIED, UNKNOWN, USERS = 0.1, 0.2, 0.1  # of its Folds: beyond this it is not ready
_DAY_NS = 86_400 * 10**9
_NAMED = 16  # targets and peers told by name
_RANKS = {mode: rank for rank, mode in enumerate(Mode)}
_STEPS = {Mode.SHADOW: (Mode.SUGGEST, Mode.GUARDED), Mode.SUGGEST: (Mode.GUARDED,), Mode.GUARDED: (Mode.AUTONOMOUS,)}


class NotReady(Refused):
    """The message has every reason; `--override` with a reason promotes it all the same, on record."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one policy led to. Counts are of Folds."""

    policy: str
    uid: str
    mode: Mode
    spec: str  # SHA-256 of the policy's spec, in hex
    since_ns: int
    until_ns: int
    days: float  # of these for which it was there, as it is
    judged: int
    would: int  # that guards allowed, and that would have acted
    acted: int
    refused: int  # by guards or the policy
    denied: int  # by a person
    held: int  # by a brake until they were void
    undone: int  # that acted, and did not do what they were for
    unreadable: int
    kinds: Mapping[str, int]  # of those that would have acted or did
    targets: Mapping[str, int]  # the same, those with most first
    peers: int  # the most that one would have cut
    share_of_octets: float  # the most, 0..1
    unknown: int  # whose radius nobody could say
    with_users: int  # that would have cut ways of users
    protected: int  # that would have met the protected set
    benign: Mapping[str, int]  # known peers and bystanders that no finding names, by Folds that would have cut them
    reasons: tuple[str, ...]  # why it is not ready; none: it is

    @property
    def ready(self) -> bool:
        """Whether nothing speaks against the next mode."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """For programs, with verdict and hash."""
        plain = dataclasses.asdict(self) | {"mode": self.mode.value, "reasons": list(self.reasons)}
        return plain | {"ready": self.ready, "hash": hashlib.sha256(canonical(plain)).hexdigest()}


def report(policy: Object, folds: Iterable[Object], now_ns: int, days: float = DAYS) -> Report:
    """Of Folds made within the last days. Steps: 1 its own   2 what each would have done   3 the verdict."""
    name, since_ns = str(policy["metadata"]["name"]), now_ns - round(days * _DAY_NS)
    # 1 its own
    views = [view for view in _once(folds) if _policy(view) == name and _made_ns(view) >= since_ns]
    acting = [view for view in views if view.receipts or _allowed(view)]
    # 2 what each would have done
    plans = [plan for view in acting if (plan := _plan(view)) is not None]
    ends = collections.Counter(_end(view) for view in views)
    counted = Report(
        policy=name,
        uid=str(policy["metadata"].get("uid", "")),
        mode=Mode(policy["spec"].get("mode", Mode.SHADOW)),
        spec=hashlib.sha256(canonical(policy["spec"])).hexdigest(),
        since_ns=since_ns,
        until_ns=now_ns,
        days=round(_covered_ns(policy, since_ns, now_ns) / _DAY_NS, 3),
        judged=len(views),
        would=sum(not view.receipts for view in acting),
        acted=ends["acted"],
        refused=ends["refused"],
        denied=ends["denied"],
        held=ends["held"],
        undone=sum(view.phase is Phase.ROLLED_BACK for view in views),
        unreadable=len(acting) - len(plans),
        kinds=_most(f"{plan.fold.kind.value} {plan.fold.action}" for plan in plans),
        targets=_most(plan.fold.target for plan in plans),
        **_radii(plans),
        reasons=(),
    )
    # 3 the verdict
    return dataclasses.replace(counted, reasons=tuple(_against(counted, policy["spec"], days)))


def step(found: Report, to: Mode, override: str = "") -> bool:
    """Whether the mode rises, and may. Raises NotReady: a report that is too young, or speaks against it; a leap."""
    if _RANKS[to] <= _RANKS[found.mode]:
        return False
    leap = (
        () if to in _STEPS.get(found.mode, ()) else (f"from {found.mode} the next mode is not {to}: a step at a time",)
    )
    why = [*leap, *found.reasons]
    if why and not override.strip():
        raise NotReady(f"FoldPolicy {found.policy} is not ready for mode {to}: {'; '.join(why)}")
    return True


def _against(found: Report, spec: Object, days: float) -> Iterable[str]:
    acting = found.would + found.acted + found.denied
    most = (spec.get("replay") or {}).get("maxShareOfOctets")
    told = (
        (days < DAYS, f"the report is of {days:g} days, {DAYS:g} are asked for"),
        (found.days < min(days, DAYS), f"it has been there, as it is, for {found.days:g} of {DAYS:g} days"),
        (not found.judged, "no Fold was judged by it: it has not been tried"),
        (found.denied > DENIED * acting, f"people denied {found.denied} of {acting}"),
        (found.undone > 0, f"{found.undone} were taken back because they failed or did not help"),
        (found.unreadable > 0, f"{found.unreadable} cannot be read"),
        (found.unknown > UNKNOWN * acting, f"what {found.unknown} of {acting} would have cut is not known"),
        (found.with_users > USERS * acting, f"{found.with_users} of {acting} would have cut ways of users"),
        (found.protected > 0, f"{found.protected} would have met the protected set"),
        (
            most is not None and found.share_of_octets > most,
            f"one would have cut {found.share_of_octets:.1%}",
        ),
    )
    return (why for holds, why in told if holds)


def _once(folds: Iterable[Object]) -> list[View]:
    """One that was removed and kept may still be listed."""
    return list({str(fold["metadata"].get("uid") or fold["metadata"]["name"]): View(fold) for fold in folds}.values())


def _policy(view: View) -> str:
    return str(view.status.get("policy") or view.spec.get("policy", ""))


def _made_ns(view: View) -> int:
    return nanoseconds(view.metadata["creationTimestamp"])


def _allowed(view: View) -> bool:
    """Whether every guard said yes, and nobody no."""
    return view.judged is not None and not view.noted(DENY) and view.phase is not Phase.DENIED


def _end(view: View) -> str:
    if view.receipts and any(one["step"] == "intent" for one in view.receipts):
        return "acted"
    if view.noted(DENY):
        return "denied"
    if view.phase is Phase.DENIED:
        return "refused"
    return "held" if view.phase is Phase.EXPIRED and view.condition("Held") and not _allowed(view) else "would"


def _plan(view: View) -> Plan | None:
    try:
        return plan_of(view.obj)
    except (LoomidiError, LookupError, ValueError):
        return None


def _covered_ns(policy: Object, since_ns: int, now_ns: int) -> int:
    """Since it was made, or its spec was changed last, as far as its own fields tell."""
    metadata = policy["metadata"]
    times = [nanoseconds(metadata["creationTimestamp"])] if metadata.get("creationTimestamp") else [now_ns]
    times += [
        nanoseconds(one["time"])
        for one in metadata.get("managedFields") or ()
        if one.get("time") and not one.get("subresource") and "f:spec" in (one.get("fieldsV1") or {})
    ]
    return max(0, now_ns - max(since_ns, *times))


def _radii(plans: Sequence[Plan]) -> dict[str, Any]:
    """The most of what any would have cut: of late where that is known, else on the graph."""
    cut = [(plan, plan.blast_radius, plan.blast_radius.replay) for plan in plans]
    blind = [radius.flows == 0 and radius.share_of_octets == 1 for _, radius, _ in cut]
    known = [(replay if replay.measured else radius) for _, radius, replay in cut]
    sure = [one for one, unseen in zip(known, blind, strict=True) if not unseen or getattr(one, "measured", False)]
    return {
        "peers": max((one.peers for one in sure), default=0),
        "share_of_octets": max((one.share_of_octets for one in sure), default=0.0),
        "unknown": len(cut) - len(sure),
        "with_users": sum(bool(replay.paths) for _, _, replay in cut),
        "protected": sum(bool(radius.protected or replay.protected) for _, radius, replay in cut),
        "benign": _most(one for plan in plans for one in _bystanders(plan)),
    }


def _bystanders(plan: Plan) -> set[str]:
    """Whom the fold would have met that no finding names: those with a name of ours, and who is told as bystander."""
    radius, named = plan.blast_radius, {*plan.finding.entities, plan.fold.target}
    ours = {one for one in radius.replay.named if one.partition("/")[0] in ("pod", "workload", "service", "node")}
    return (ours | {*radius.bystanders}) - named


def _most(names: Iterable[str]) -> dict[str, int]:
    counted = collections.Counter(names)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:_NAMED])
