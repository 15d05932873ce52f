"""How a FoldPolicy is doing: one pass over one policy, which makes its next status. Pure.

Called by `running`. In: the policy as the API server has it, every Fold as it is counted, the time. Out: a whole
status, and seconds until it changes by time alone, or None. Writing it, when it is another, is left to `running`.
"""

import math
from collections import Counter
from collections.abc import Sequence

from loomidi.fold.operator.braking import begun_by, filled, paused, storm_until, tokens
from loomidi.fold.operator.counting import Counted
from loomidi.fold.operator.noting import Status, conditioned
from loomidi.fold.operator.views import Object
from loomidi.fold.resources.objects import moment
from loomidi.fold.resources.phases import TERMINAL, Phase

SOONEST_S, LATEST_S = 1.0, 60.0  # between two passes that nothing but time asks for


def overseen(policy: Object, folds: Sequence[Counted], uncounted: str, now_ns: int) -> tuple[Status, float | None]:
    """`uncounted`: why Folds cannot be counted now, or ''."""
    name, brakes = policy["metadata"]["name"], filled(policy["spec"].get("brakes") or {})
    own = [one for one in folds if one.policy == name]
    begun = begun_by(name, folds)
    pause, storm_ns = paused(brakes.get("pause"), now_ns), storm_until(brakes["storm"], folds, now_ns)
    left = math.floor(tokens(brakes["bucket"], begun, now_ns))
    held = Counter(one.held for one in own if one.held)
    status: Status = dict(policy.get("status") or {}) | {
        "observedGeneration": policy["metadata"].get("generation", 1),
        "active": sum(one.active for one in own),
        "waiting": sum(one.phase not in TERMINAL and not one.begun_ns for one in own),
        "denied": sum(one.phase is Phase.DENIED for one in own),
        "held": ", ".join(f"{brake} ({count})" for brake, count in sorted(held.items())),
        "tokens": max(0, left),
        "storm": storm_ns > 0,
    }
    if begun:
        status["lastFoldTime"] = moment(begun[-1])
    status["message"] = uncounted or (str(pause) if pause else _told(status, storm_ns))
    status = conditioned(
        status,
        now_ns,
        Ready=(
            not uncounted,
            "NotCounted" if uncounted else "Followed",
            uncounted or "Folds are counted and judged by it",
        ),
        Paused=(pause is not None, "Paused" if pause else "Free", str(pause) if pause else "no pause"),
        Storm=(storm_ns > 0, "Storm" if storm_ns else "Quiet", _stormy(brakes["storm"], storm_ns)),
    )
    timed = pause is not None or storm_ns or left < brakes["bucket"]["size"]
    return status, min(LATEST_S, max(SOONEST_S, brakes["bucket"]["refillSeconds"] / 2)) if timed else None


def _told(status: Status, storm_ns: int) -> str:
    held = f"; held: {status['held']}" if status["held"] else ""
    storm = "; a storm rages" if storm_ns else ""
    return f"{status['active']} in force, {status['waiting']} wait, {status['denied']} denied{held}{storm}"


def _stormy(storm: Object, until_ns: int) -> str:
    what = f"{storm['findings']} findings within {storm['withinSeconds']} s"
    return (
        f"{what}: no further than mode {storm['mode']} until {moment(until_ns)[:19]}Z"
        if until_ns
        else f"fewer than {what}"
    )
