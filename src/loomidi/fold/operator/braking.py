"""The brakes of a policy, counted from what is there now: whether a Fold has to wait, for what, and until when.

Called by `policing` for one Fold and by `overseeing` for a policy. Pure: nothing is remembered, everything is counted
from Folds and pods as they are told, and from the times in them. In: the policy's brakes, a plan, its `Around`. Out:
the first `Brake` that holds, or None. What cannot be counted holds too.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Mode, Plan
from loomidi.fold.operator.counting import TAKING, Counted
from loomidi.fold.operator.spots import Pod, Spot
from loomidi.fold.operator.views import Object
from loomidi.fold.resources.braking import brakes as _schema
from loomidi.fold.resources.objects import moment, nanoseconds

_S = 1_000_000_000
PAUSED, NOT_COUNTED = "Paused", "NotCounted"
DEFAULTS: Mapping[str, Any] = _schema()["default"]  # what the API server writes in where a policy is silent


@dataclasses.dataclass(frozen=True, slots=True)
class Around:
    """What stands around a Fold: labels of its namespace and target, who else is at work, which pods are there."""

    namespace: str = ""
    namespace_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    target_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    key: str = ""  # of the Fold itself
    replaced: str = ""  # key of the one whose place it takes: the two are one answer, so caps count one
    spot: Spot = dataclasses.field(default_factory=lambda: Spot(""))
    folds: tuple[Counted, ...] = ()  # all of the cluster, the Fold itself among them
    pods: tuple[Pod, ...] = ()
    uncounted: str = ""  # why Folds or pods cannot be counted now
    now_ns: int = 0

    @property
    def others(self) -> tuple[Counted, ...]:
        """All Folds but this one."""
        return tuple(one for one in self.folds if one.key != self.key)


@dataclasses.dataclass(frozen=True, slots=True)
class Brake:
    """One that holds."""

    name: str  # in a word, for conditions
    why: str
    until_ns: int = 0  # 0: nobody can say

    def __str__(self) -> str:
        return f"{self.why}; until {moment(self.until_ns)[:19]}Z" if self.until_ns else self.why


def filled(given: Mapping[str, Any], defaults: Mapping[str, Any] = DEFAULTS) -> dict[str, Any]:
    """A policy's brakes with the defaults where it is silent."""
    parts = {name: filled(given.get(name) or {}, part) for name, part in defaults.items() if isinstance(part, Mapping)}
    return {**defaults, **given, **parts}


def braked(policy: str, brakes: Mapping[str, Any], plan: Plan, around: Around) -> Brake | None:
    """The first that holds. Steps, in this order:

    1 a person paused it   2 what cannot be counted   3 a storm that allows nothing   4 too young a finding
    5 too soon on this target   6 too many at once   7 too few healthy pods left   8 the budget is spent   9 too fast
    """
    # 1 paused
    if pause := paused(brakes.get("pause"), around.now_ns):
        return pause
    # 2 not counted
    if around.uncounted:
        return Brake(NOT_COUNTED, f"not counted: {around.uncounted}")
    # 3 to 9
    asked: tuple[Callable[[], Brake | None], ...] = (
        lambda: _stormy(brakes["storm"], around),
        lambda: _young(brakes["antiFlapSeconds"], plan, around),
        lambda: _resting(brakes["cooldownSeconds"], plan, around),
        lambda: _full(policy, brakes["caps"], around),
        lambda: _sick(brakes, plan, around),
        lambda: _spent(brakes.get("budget") or {}, plan, around),
        lambda: _fast(brakes["bucket"], begun_by(policy, around.others), around.now_ns),
    )
    return next((brake for ask in asked if (brake := ask()) is not None), None)


def paused(pause: Object | None, now_ns: int) -> Brake | None:
    """A person's word."""
    until_ns = nanoseconds(pause["until"]) if pause and "until" in pause else 0
    if not pause or (until_ns and until_ns <= now_ns):
        return None
    return Brake(PAUSED, f"paused: {pause['reason']}", until_ns)


def storm_until(storm: Object, folds: Iterable[Counted], now_ns: int) -> int:
    """When the storm is over that rages now, or 0: one for as long as enough findings lie in one window, and a quiet
    time after that."""
    first: dict[str, int] = {}
    for one in folds:
        first[one.finding] = min(one.made_ns, first.get(one.finding, one.made_ns))
    made, count = sorted(first.values()), storm["findings"]
    window_ns, quiet_ns = storm["withinSeconds"] * _S, storm["quietSeconds"] * _S
    begun = [start for start, end in zip(made, made[count - 1 :], strict=False) if end - start < window_ns]
    until_ns = begun[-1] + window_ns + quiet_ns if begun else 0
    return until_ns if until_ns > now_ns else 0


def storm_mode(storm: Object, around: Around) -> Mode:
    """The furthest that a Fold may go now."""
    return Mode(storm["mode"]) if storm_until(storm, around.folds, around.now_ns) else Mode.AUTONOMOUS


def begun_by(policy: str, folds: Iterable[Counted]) -> list[int]:
    """When Folds of this policy were begun, oldest first; one that names no policy may be of any."""
    return sorted(one.begun_ns for one in folds if one.policy in (policy, "") and one.begun_ns)


def tokens(bucket: Object, begun_ns: Sequence[int], now_ns: int) -> float:
    """How many Folds may follow now: the bucket was full before the first, each took one, time refills it."""
    left, at_ns = float(bucket["size"]), begun_ns[0] if begun_ns else now_ns
    for begun in begun_ns:
        left = _refilled(bucket, left, begun - at_ns) - 1
        at_ns = begun
    return _refilled(bucket, left, now_ns - at_ns)


def _refilled(bucket: Object, left: float, passed_ns: int) -> float:
    return min(float(bucket["size"]), left + max(0, passed_ns) / (float(bucket["refillSeconds"]) * _S))


def _fast(bucket: Object, begun_ns: Sequence[int], now_ns: int) -> Brake | None:
    left = tokens(bucket, begun_ns, now_ns)
    if left >= 1:
        return None
    until_ns = now_ns + round((1 - left) * bucket["refillSeconds"] * _S)
    why = f"bucket: {bucket['size']} Folds followed each other, one more every {bucket['refillSeconds']} s"
    return Brake("TokenBucket", why, -(-until_ns // _S) * _S)


def _stormy(storm: Object, around: Around) -> Brake | None:
    until_ns = storm_until(storm, around.folds, around.now_ns) if storm["mode"] == Mode.SHADOW else 0
    if not until_ns:
        return None
    why = f"storm: {storm['findings']} findings within {storm['withinSeconds']} s, so that it is mode shadow"
    return Brake("Storm", why, until_ns)


def _young(least_s: int, plan: Plan, around: Around) -> Brake | None:
    """How long it was seen: by its own finding, and by others of the same pattern on the same target."""
    same = (plan.finding.pattern, plan.fold.target)
    seen = [one.seen_ns for one in around.others if (one.pattern, one.target) == same]
    lasted_s = (max([plan.finding.last_ns, *seen]) - plan.finding.first_ns) / _S
    if lasted_s >= least_s:
        return None
    return Brake("AntiFlap", f"antiFlapSeconds: seen for {lasted_s:g} of {least_s} s, it has to be seen again")


def _resting(rest_s: int, plan: Plan, around: Around) -> Brake | None:
    ends = [one.ended_ns for one in around.others if one.target == plan.fold.target and one.begun_ns and one.ended_ns]
    until_ns = max(ends, default=0) + rest_s * _S
    if not ends or until_ns <= around.now_ns:
        return None
    return Brake("Cooldown", f"cooldownSeconds: {plan.fold.target} was folded less than {rest_s} s ago", until_ns)


def _full(policy: str, caps: Object, around: Around) -> Brake | None:
    """The first cap that is reached, the narrowest first. Only the total is the policy's own, the others are shared."""
    spot = around.spot
    places = {"workload": spot.workload, "node": spot.node, "namespace": around.namespace, "total": policy}
    told = (_reached(name, there, caps[name], around) for name, there in places.items() if there)
    return next((brake for brake in told if brake is not None), None)


def _reached(name: str, there: str, share: int | str, around: Around) -> Brake | None:
    def here(one: Counted | Pod) -> bool:
        if name == "total":
            return isinstance(one, Pod) or one.policy in (there, "")
        return bool(getattr(one, name) == there) and (name != "workload" or one.namespace == around.namespace)

    at_work = [one for one in around.others if one.active and one.key != around.replaced and here(one)]
    most = _most(share, sum(map(here, around.pods)))
    if len(at_work) < most:
        return None
    why = f"caps.{name}: {len(at_work)} of {most} Folds at work ({there})"
    return Brake(f"Cap{name.title()}", why, min((one.until_ns for one in at_work), default=0))


def _most(share: int | str, pods: int) -> int:
    """A share of pods rounds down, but is at least one: a namespace of three pods would never be helped otherwise."""
    if isinstance(share, int):
        return share
    percent = int(share.removesuffix("%"))
    return max(1, pods * percent // 100) if percent else 0


def _spent(budget: Object, plan: Plan, around: Around) -> Brake | None:
    """What Folds of all policies have cost this namespace within the window, and what this one would add."""
    window_ns = int(budget.get("windowHours", 24)) * 3600 * _S
    since_ns, here = around.now_ns - window_ns, [one for one in around.others if one.namespace == around.namespace]
    begun = sorted(one.begun_ns for one in here if one.begun_ns > since_ns)
    most, minutes = budget.get("folds"), budget.get("podMinutes")
    hours = f"in {window_ns // (3600 * _S)} h ({around.namespace})"
    if most is not None and len(begun) >= most:
        until_ns = begun[len(begun) - most] + window_ns if most else 0
        return Brake("BudgetFolds", f"budget.folds: {len(begun)} of {most} Folds begun {hours}", until_ns)
    if minutes is None or plan.fold.kind not in TAKING:
        return None
    spent_s = sum(_out_s(one, since_ns, around.now_ns) for one in here if one.takes)
    if spent_s + plan.fold.ttl_s <= minutes * 60:
        return None
    why = f"budget.podMinutes: {spent_s / 60:.1f} of {minutes} spent or promised {hours}"
    return Brake("BudgetPodMinutes", f"{why}, this Fold would add {plan.fold.ttl_s / 60:.1f}")


def _out_s(one: Counted, since_ns: int, now_ns: int) -> float:
    """Seconds after a time for which its pod was out of service, or is still going to be at the most."""
    until_ns = one.ended_ns or max(one.until_ns, now_ns)
    return max(0, until_ns - max(one.begun_ns, since_ns)) / _S if one.begun_ns else 0.0


def _sick(brakes: Object, plan: Plan, around: Around) -> Brake | None:
    """Whether the workload would keep too few healthy pods; who is not healthy may go at any time."""
    own = [pod for pod in around.pods if pod.workload == around.spot.workload]
    target = plan.fold.target.removeprefix("pod/")
    taken = {one.target.removeprefix("pod/") for one in around.others if one.active and one.takes}
    healthy = {f"{pod.namespace}/{pod.name}" for pod in own if pod.healthy} - taken
    if plan.fold.kind not in TAKING or target not in healthy:
        return None
    left, count = len(healthy) - 1, len(own)
    least, most = brakes.get("minHealthy"), brakes.get("maxUnhealthy")
    if least is not None and left < (needed := _rounded(least, count, up=True)):
        return Brake(
            "MinHealthy", f"minHealthy: {left} of {count} pods of {around.spot.workload} left, {needed} needed"
        )
    if most is not None and count - left > (allowed := _rounded(most, count, up=False)):
        why = f"maxUnhealthy: {count - left} of {count} pods of {around.spot.workload} would be, {allowed} allowed"
        return Brake("MaxUnhealthy", why)
    return None


def _rounded(share: int | str, count: int, *, up: bool) -> int:
    """To the cautious side."""
    if isinstance(share, int):
        return share
    exact = count * int(share.removesuffix("%"))
    return -(-exact // 100) if up else exact // 100
