"""One scenario with Loomidi at work or without: the same seed, the same users, and what came of it.

Called by the verb `heal` and by tests. In: a lab with the shop, a scenario of `TROUBLES`. Out: `Healed`: moments in
seconds after the fault began, and what users saw. Whether the fault really took hold is the scenario's own judgement
in the run without Loomidi; in the other run healing may come before a symptom does.
"""

import contextlib
import dataclasses
import datetime as dt
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError
from loomidi_lab.healing.defending import defended
from loomidi_lab.healing.troubles import TROUBLES, Trouble
from loomidi_lab.staging import drawing, loading, running
from loomidi_lab.staging.observing import Observer, metering
from loomidi_lab.staging.users import RequestLines

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging.records import Drawn, Occurrence

RATE = 30.0  # requests a second of the users
_AHEAD_S = 20.0  # of users before anything happens: what is usual
_AFTER_S = 15.0  # looked on after the scenario has ended
_LATE_S = 60.0  # that an answer may take on a busy machine; who acts is still there for so long
_LOOK_S = 0.5
Say = Callable[[str], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Healed:
    """What one run showed. Moments are seconds after the fault began; None: it did not come to that."""

    scenario: str
    seed: int
    defended: bool
    confirmed: bool  # by the scenario's own symptoms
    detected_s: float | None  # until the Fold that was applied was planned
    folded_s: float | None  # until its effect was on record
    over_s: float | None  # until the trouble was seen last
    lasted_s: float  # the act
    requests: int  # of users, from the fault to the end of the looking on
    errors: int
    p99_ms: float
    folds: tuple[str, ...]  # `ISOLATE_POD pod/tenants/x Released`, in the order of their plans
    taken_back: bool  # every Fold that was applied is over, its inverse carried out

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return dataclasses.asdict(self)


def heal(lab: "Lab", name: str, seed: int, *, with_loomidi: bool, say: Say) -> Healed:
    """Run it once. Raises InputError for a scenario whose trouble nobody can measure."""
    if name not in TROUBLES:
        raise InputError(f"{name}: its end is not measured; use one of {', '.join(TROUBLES)}")
    drawn = drawing.draw(loading.load(name), seed)
    running.check_needs(lab, drawn)
    observer = Observer(lab)
    with contextlib.ExitStack() as stack:
        stack.enter_context(metering(observer))
        users = stack.enter_context(users_of(lab, seed))
        defence = stack.enter_context(defended(lab, say)) if with_loomidi else None
        time.sleep(_AHEAD_S)
        looking = Looking(TROUBLES[name](lab, drawn, observer, users))
        with looking:
            linger = partial(defence.await_answer, _LATE_S) if defence else lambda: None
            occurrence = running.run(lab, drawn, observer=observer, shop=users, say=say, linger=linger)
            if not occurrence.valid:
                say(f"not as without Loomidi: {occurrence.void_because}")
            time.sleep(_AFTER_S)
        ended_ns = time.time_ns()
        folds = defence.await_ends() if defence else []
        return _told(drawn, occurrence, folds, looking.last_ns, users.load_between(occurrence.start_ns, ended_ns))


class Looking:
    """Asks for the trouble until the block ends; `last_ns`: when it was there last, 0 for never."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble, self._stop = trouble, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.last_ns = 0

    def __enter__(self) -> "Looking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with contextlib.suppress(Exception):  # an API that does not answer for a moment: asked again
                self.last_ns = max(self.last_ns, self._trouble())


def _told(drawn: "Drawn", run: "Occurrence", folds: Sequence[dict[str, Any]], last_ns: int, load: Any) -> Healed:
    applied = [fold for fold in folds if receipt_ns(fold, "applied")]
    first = applied[0] if applied else None
    over = last_ns if last_ns > run.start_ns else 0
    return Healed(
        scenario=drawn.scenario.name,
        seed=drawn.seed,
        defended=bool(folds),
        confirmed=run.valid,
        detected_s=_after(run, nanoseconds(first["spec"]["plan"]["createdTime"])) if first else None,
        folded_s=_after(run, receipt_ns(first, "applied")) if first else None,
        over_s=_after(run, over) if over else None,
        lasted_s=round((run.end_ns - run.start_ns) / 1e9, 1),
        requests=load.requests,
        errors=load.errors,
        p99_ms=round(load.p99_ms, 1),
        folds=tuple(map(fold_told, folds)),
        taken_back=all(receipt_ns(fold, "undone") or receipt_ns(fold, "expired") for fold in applied),
    )


def fold_told(fold: dict[str, Any]) -> str:
    """In words; why, where nothing was done."""
    phase, spec = fold["status"]["phase"], fold["spec"]
    why = f": {fold['status'].get('message', '')[:160]}" if phase in ("Denied", "Expired", "RolledBack") else ""
    return f"{spec['kind']} {spec['target']} {phase}{why}"


def receipt_ns(fold: dict[str, Any], step: str) -> int:
    """When a receipt of that step was written, ns; 0: never."""
    receipts = fold.get("status", {}).get("receipts") or ()
    return next((nanoseconds(one["atTime"]) for one in receipts if one["step"] == step), 0)


def nanoseconds(text: str) -> int:
    """Of a Kubernetes time such as `2026-11-27T06:33:42.123Z`, since the epoch."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return int(dt.datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int((rest or "0").ljust(9, "0")[:9])


def _after(run: "Occurrence", at_ns: int) -> float:
    return round((at_ns - run.start_ns) / 1e9, 2)


@contextlib.contextmanager
def users_of(lab: "Lab", seed: int) -> Iterator[RequestLines]:
    """The shop's users while the block runs, at `RATE`."""
    from loomidi_lab.shop import find
    from loomidi_lab.shop.load import Load, LoadProfile

    with tempfile.TemporaryDirectory(prefix="loomidi-users-") as folder:
        load = Load(lab, find(lab), LoadProfile(rate=RATE, swing=0.0, bursts=0.0), seed, Path(folder)).start()
        try:
            yield RequestLines(load.requests)
        finally:
            load.stop()
