"""One scenario of a drill: users, the act, and what Loomidi found and did meanwhile.

Called by `commands`, bench/folding_lab and tests. In: a scene, a scenario. Out: `Drilled`. Users and Loomidi are the
same over many scenarios, as it is in use; what Loomidi did for one is over before the next.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loomidi import __version__
from loomidi_lab.drills.matching import listed
from loomidi_lab.drills.records import Drilled
from loomidi_lab.drills.telling import about, involved, told_of
from loomidi_lab.healing.comparing import Looking, fold_told, receipt_ns
from loomidi_lab.healing.troubles import trouble_of
from loomidi_lab.staging import drawing, loading, running

if TYPE_CHECKING:
    from loomidi_lab.drills.scenes import Say, Scene
    from loomidi_lab.healing.defending import Defence
    from loomidi_lab.staging.records import Occurrence
    from loomidi_lab.staging.stages import LoadFigures

AHEAD_S = 16.0  # of users before anything happens: what is usual
AFTER_S = 10.0  # looked on after the act has ended
KEPT_S = 8.0  # after that, until what was found lies in the lake
TOLD_S = 30.0  # instead of it while nothing was found: a window of 10 s, what may come late to it, a busy machine
_ASK_S = 2.0
_NEWS = ("new", "worse")  # what only goes on was told of something before


def play(scene: "Scene", name: str, seed: int, say: "Say") -> Drilled:
    """Run it once. Raises InputError for an unknown scenario, EnvironmentLacks where the lab has not what it needs."""
    drawn, lab, users = drawing.draw(loading.load(name), seed), scene.lab, scene.users
    running.check_needs(lab, drawn)
    time.sleep(AHEAD_S)
    looking = Looking(trouble_of(drawn)(lab, drawn, scene.observer, users))
    with looking:
        occurrence = running.run(lab, drawn, observer=scene.observer, shop=users, say=say)
        time.sleep(AFTER_S)
    ended_ns = time.time_ns()
    answered = _answered(scene.defence, occurrence, ended_ns) if scene.defence else {}
    load = users.load_between(occurrence.start_ns, ended_ns)  # its newest lines come late
    return Drilled(**_undefended(lab.network, occurrence, looking.last_ns, load) | answered)


def _undefended(network: str, run: "Occurrence", last_ns: int, load: "LoadFigures") -> dict[str, Any]:
    """What both ways have in common: the scenario and its users."""
    drawn = run.drawn
    return {
        "scenario": drawn.scenario.name,
        "category": drawn.scenario.category,
        "seed": drawn.seed,
        "network": network,
        "defended": False,
        "confirmed": run.valid,
        "void_because": run.void_because,
        "over_s": after_s(run, last_ns) if last_ns > run.start_ns else None,
        "lasted_s": round((run.end_ns - run.start_ns) / 1e9, 1),
        "requests": load.requests,
        "errors": load.errors,
        "p99_ms": round(load.p99_ms, 1),
        "at": int(time.time()),
        "version": __version__,
    }


def _answered(defence: "Defence", run: "Occurrence", ended_ns: int) -> dict[str, Any]:
    """What Loomidi found and did; afterwards all of it is over."""
    folds = defence.await_ends()
    found = _await_found(defence, run, ended_ns)
    defence.forget()
    return found | _done(run, folds)


def _await_found(defence: "Defence", run: "Occurrence", ended_ns: int) -> dict[str, Any]:
    """What was told of it, as soon as that can be said; the longer, the less was told."""
    while True:
        found = _found(defence, run)
        nothing = "detected_s" not in found and run.drawn.scenario.category != "benign"
        if time.time_ns() > ended_ns + 10**9 * (TOLD_S if nothing else KEPT_S):
            return found
        time.sleep(_ASK_S)


def _found(defence: "Defence", run: "Occurrence") -> dict[str, Any]:
    """The first finding that names somebody of the scenario, and how many named nobody."""
    told = [one for one in told_of(defence.findings(run.start_ns)) if one.alarm and one.state in _NEWS]
    mine = about(told, involved(run))
    others = {"others": len({one.finding_id for one in told} - {one.finding_id for one in mine})}
    if not mine:
        return others
    return others | {"detected_s": after_s(run, mine[0].told_ns), "pattern": mine[0].pattern}


def _done(run: "Occurrence", folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was folded, and whether the scenario calls it right."""
    applied = [dict(fold) for fold in folds if receipt_ns(dict(fold), "applied") > run.start_ns]
    right = [listed(fold["spec"], run.drawn.fold.get("right", ())) for fold in applied]
    benign = run.drawn.scenario.category == "benign"
    harmful = [listed(fold["spec"], run.drawn.fold.get("harmful", ())) for fold in applied]
    first_ns = min((receipt_ns(fold, "applied") for fold in applied), default=0)
    return {
        "defended": True,
        "folded_s": after_s(run, first_ns) if first_ns else None,
        "folds": tuple(fold_told(dict(fold)) for fold in folds),
        "right": sum(right),
        "harmful": sum(bad or (benign and not good) for good, bad in zip(right, harmful, strict=True)),
        "applied": len(applied),
        "undone": sum(bool(receipt_ns(fold, "undone") or receipt_ns(fold, "expired")) for fold in applied),
    }


def after_s(run: "Occurrence", at_ns: int) -> float:
    """Seconds after the act began."""
    return round((at_ns - run.start_ns) / 1e9, 2)
