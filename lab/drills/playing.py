"""One scenario of a drill: users, the act, and what Loomidi found and did meanwhile.

Called by `commands` and tests. In: a lab with the shop, a scenario, the defence that is at work or None. Out:
`Drilled`. The defence is the same over many scenarios, as it is in use; what it did for one is over before the next.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loomidi import __version__
from loomidi_lab.drills.matching import listed, named
from loomidi_lab.drills.records import Drilled
from loomidi_lab.healing.comparing import Looking, fold_told, receipt_ns, users_of
from loomidi_lab.healing.troubles import trouble_of
from loomidi_lab.staging import drawing, loading, running
from loomidi_lab.staging.observing import Observer, metering

if TYPE_CHECKING:
    import pyarrow as pa

    from loomidi_lab.cluster import Lab
    from loomidi_lab.healing.defending import Defence
    from loomidi_lab.staging.records import Drawn, Occurrence
    from loomidi_lab.staging.stages import LoadFigures

AHEAD_S = 16.0  # of users before anything happens: what is usual
AFTER_S = 10.0  # looked on after the act has ended
KEPT_S = 8.0  # until what was found lies in the lake
Say = Callable[[str], object]


def play(lab: "Lab", name: str, seed: int, defence: "Defence | None", say: Say) -> Drilled:
    """Run it once. Raises InputError for an unknown scenario, EnvironmentLacks where the lab has not what it needs."""
    drawn = drawing.draw(loading.load(name), seed)
    running.check_needs(lab, drawn)
    observer, folds = Observer(lab), []
    with contextlib.ExitStack() as stack:
        stack.enter_context(metering(observer))
        users = stack.enter_context(users_of(lab, seed))
        time.sleep(AHEAD_S)
        looking = Looking(trouble_of(drawn)(lab, drawn, observer, users))
        with looking:
            occurrence = running.run(lab, drawn, observer=observer, shop=users, say=say)
            time.sleep(AFTER_S)
        ended_ns = time.time_ns()
        if defence is not None:
            folds = defence.await_ends()
            time.sleep(max(0.0, KEPT_S - (time.time_ns() - ended_ns) / 1e9))
        load = users.load_between(occurrence.start_ns, ended_ns)
        run = _undefended(lab.network, occurrence, looking.last_ns, load)
    if defence is None:
        return Drilled(**run)
    found = _found(defence.findings(occurrence.start_ns), occurrence)
    defence.forget()
    return Drilled(**run | found | _done(drawn, occurrence, folds))


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


def _found(findings: "pa.Table", run: "Occurrence") -> dict[str, Any]:
    """The first finding that names somebody of the scenario, and how many named nobody."""
    everybody = [*run.sources, *run.victims] or [
        {"entity": one.as_dict()} for one in (*run.drawn.sources, *run.drawn.victims)
    ]  # an act that did not come to its end has only the names that were planned
    rows = findings.filter([one != "info" for one in findings["severity"].to_pylist()]).sort_by("told")
    told = rows["told"].cast("int64").to_pylist()
    mine = [named(entities, everybody) for entities in rows["entities"].to_pylist()]
    first = mine.index(True) if True in mine else None
    others = {one for one, own in zip(rows["finding_id"].to_pylist(), mine, strict=True) if not own}
    if first is None:
        return {"others": len(others)}
    return {
        "detected_s": after_s(run, told[first]),
        "pattern": rows["pattern"][first].as_py(),
        "others": len(others),
    }


def _done(drawn: "Drawn", run: "Occurrence", folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was folded, and whether the scenario calls it right."""
    applied = [dict(fold) for fold in folds if receipt_ns(dict(fold), "applied") > run.start_ns]
    right = [listed(fold["spec"], drawn.fold.get("right", ())) for fold in applied]
    benign = drawn.scenario.category == "benign"
    harmful = [listed(fold["spec"], drawn.fold.get("harmful", ())) for fold in applied]
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
