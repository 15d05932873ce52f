"""Which of the folds that fit is proposed: by the rules, gentlest first, or by the bandit that learned from outcomes.

Called by `folding`. In: a finding and its folds, planned and judged. Out: a `Ranked`: the fold, nothing, or a fold that
a person is asked for, with the probability by which it was chosen. Masks before, asks the guards after. Every choice is
on disk before it is told, and what was learned outlives a restart. What is believed is left to `origami.policy`.
"""

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts import Finding, FoldKind, InputError, LoomidiError, Mode, Plan, Severity
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.resources.phases import Phase
from loomidi.insight.report import ProposedFold
from loomidi.ionic.decide import FINAL
from loomidi.ionic.documents import plan_id
from loomidi.kit.logging import logger
from loomidi.origami.policy import (
    ARMS,
    ASK_HUMAN,
    NO_ACTION,
    Candidates,
    Choice,
    Chooser,
    DecisionLog,
    MaskedAction,
    Outcome,
)

CHOICE = "loomidi.io/choice"  # annotation: decision and propensity
FEATURES = 9
_GENTLE = frozenset({"rate", "scale", "eject", "resize"})
_EXPECTED = {NO_ACTION: 0.3, ASK_HUMAN: 0.35}  # of the rules: a fold that fits is better than none or a wait
_FIRST, _LESS = 0.6, 0.05  # of the gentlest fold, and less for each that is harder
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
_REWARDS = {
    Phase.RELEASED: (1.0, "worked"),
    Phase.ROLLED_BACK: (0.0, "no_effect"),
    Phase.SUPERSEDED: (0.2, "no_effect"),  # the next step of its ladder was needed
}
_FILES = 1000  # decisions of one folder
_LOG = logger("services.ranking")
Judge = Callable[[Plan], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Ranked:
    """What follows. `fold` None: nothing, this time."""

    fold: ProposedFold | None
    ask: bool = False  # a person shall approve it, whatever the mode
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)  # annotations of the Fold


def by_rules(_finding: Finding, folds: Sequence[ProposedFold], _now_ns: int) -> Ranked:
    """The first: they come gentlest first."""
    return Ranked(folds[0])


class Bandit:
    """One process's, in a folder of its own."""

    def __init__(self, folder: Path, judge: Judge, now_ns: int, chooser: Chooser | None = None) -> None:
        """`judge`: whether every guard allows a plan now. State that does not fit is left where it is, and told."""
        self.counts: collections.Counter[str] = collections.Counter()
        self.chooser = chooser or Chooser(FEATURES)
        self._folder, self._judge, self._begun_ns = folder, judge, now_ns
        self._learned: collections.OrderedDict[str, None] = collections.OrderedDict()
        try:
            if (state := folder / "state.bin").is_file():
                self.chooser.restore(state.read_bytes())
        except InputError as error:
            _LOG.warning("what was learned about folds cannot be used: it begins as the rules", cause=str(error))
            self.counts["state_refused"] += 1
        self._log = self._fresh()

    def rank(self, finding: Finding, folds: Sequence[ProposedFold], now_ns: int) -> Ranked:
        """One decision. Steps: 1 mask   2 choose, the guards asked again   3 on disk   4 what follows."""
        # 1 mask
        rows = list(folds)
        options = candidates(finding, rows)
        # 2 choose
        try:
            choice = self.chooser.choose(rows[0].plan.id, options, lambda at: at < 2 or self._still(rows[at - 2]))
        except MaskedAction:
            self.counts["masked_after"] += 1
            return Ranked(None)
        except LoomidiError as error:  # the same plan again: it was decided, and its Fold could not be posted
            _LOG.warning("the rules choose", cause=str(error))
            self.counts["by_rules"] += 1
            return Ranked(next((one for one in rows if one.allowed), None))
        # 3 on disk
        self._log.decided(choice, now_ns)
        self._keep()
        # 4 what follows
        self.counts[ARMS[options.arms[choice.index]]] += 1
        return self._ranked(rows, choice)

    def learn(self, folds: Iterable[Mapping[str, Any]]) -> int:
        """From Folds that are over, each once; how many were new."""
        learned = 0
        for fold in folds:
            view = View(fold)
            decision = view.noted(CHOICE).partition(" ")[0]
            if not decision or decision in self._learned or view.phase not in _REWARDS or view.applied is None:
                continue
            reward, label = _REWARDS[view.phase]
            self._learned[decision] = None
            if len(self._learned) > self.chooser.settings.pending:
                self._learned.popitem(last=False)
            if self.chooser.learn(decision, reward):
                learned += 1
                begun_ns = nanoseconds(view.applied["atTime"])
                self._log.came(Outcome(decision, view.at("since"), (view.at("since") - begun_ns) / 1e9, reward, label))
        if learned:
            self.counts["learned"] += learned
            self._keep()
        return learned

    def _ranked(self, rows: Sequence[ProposedFold], choice: Choice) -> Ranked:
        told = f"{choice.decision} propensity={choice.propensity:.6g} chosen={choice.name}"
        notes = {CHOICE: told[:512]}
        if choice.index == 0:
            return Ranked(None)
        if choice.index == 1:
            first = next((one for one in rows if one.allowed), None)
            return Ranked(first, ask=True, notes=notes)
        return Ranked(rows[choice.index - 2], notes=notes)

    def _still(self, one: ProposedFold) -> bool:
        return one.allowed and self._judge(one.plan)

    def _keep(self) -> None:
        """Decisions and outcomes in a new file, then what was learned, whole or not at all."""
        self._log.written(self._into)
        part = self._folder / "state.part"
        with part.open("wb") as file:
            file.write(self.chooser.snapshot())
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._folder / "state.bin")
        if len(self._log) >= _FILES:
            self._begun_ns += 1
            self._log = self._fresh()

    def _fresh(self) -> DecisionLog:
        self._into = self._folder / f"log-{self._begun_ns}"
        self._into.mkdir(parents=True, exist_ok=True)
        return DecisionLog(self.chooser.settings, "bandit")


def asking(plan: Plan) -> Plan:
    """The same, going no further than to ask a person."""
    ranks = list(Mode)
    mode = min(plan.mode, Mode.SUGGEST, key=ranks.index)
    unnamed = dataclasses.replace(plan, id="", mode=mode)
    return dataclasses.replace(unnamed, id=plan_id(unnamed))


def candidates(finding: Finding, folds: Sequence[ProposedFold]) -> Candidates:
    """To do nothing, to ask a person, then each fold; what guards deny is masked."""
    rows = [(NO_ACTION, None), (ASK_HUMAN, None), *((one.fold.kind.value, one) for one in folds)]
    able = any(one.allowed for one in folds)
    names = [f"{arm} {one.fold.action} {one.fold.target} {one.fold.match.source}" if one else arm for arm, one in rows]
    allowed = [arm == NO_ACTION or (able if one is None else one.allowed) for arm, one in rows]
    safe = [one is None or _is_safe(one) for _, one in rows]
    expected = [_EXPECTED.get(arm, max(0.4, _FIRST - _LESS * (at - 2))) for at, (arm, _) in enumerate(rows)]
    return Candidates(
        names=tuple(f"{at} {name}" if names.count(name) > 1 else name for at, name in enumerate(names)),
        arms=np.array([ARMS.index(arm) for arm, _ in rows], np.int64),
        features=np.array([_features(finding, one) for _, one in rows], np.float64),
        expected=np.array(expected, np.float64),
        allowed=np.array(allowed, np.bool_),
        safe=np.array(safe, np.bool_),
    )


def _is_safe(one: ProposedFold) -> bool:
    """Gentle, and with a way back."""
    return one.fold.action in _GENTLE and one.fold.kind not in FINAL


def _features(finding: Finding, one: ProposedFold | None) -> list[float]:
    """Of the finding, then of the fold, each about 0 to 1."""
    lasted_s = max(0.0, (finding.last_ns - finding.first_ns) / 1e9)
    bad, many = _RANKS[finding.severity] / 4, len(finding.entities[:16]) / 16
    seen = [1.0, finding.confidence, bad, min(1.0, lasted_s / 600), many]
    if one is None:
        return [*seen, 0.0, 0.0, 0.0, 0.0]
    radius = one.plan.blast_radius
    return [
        *seen,
        min(1.0, one.fold.ttl_s / 3600),
        radius.share_of_octets,
        min(1.0, radius.peers / 64),
        float(one.fold.kind in (FoldKind.ISOLATE_POD, *FINAL)),
    ]
