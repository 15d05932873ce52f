"""From what is usual to thresholds within bounds: a finding that says why, and a fold that says what.

Called by `services.fast.tuning`. In: `UsualWindows`, the policy, the thresholds in force. Out: `Tuning`s, each with a
`Finding` and a `FoldSpec` by `tune`, which are planned, guarded and carried out like any others. A threshold is what is
usual at most times the margin, then held within a share of the day's first one, then within the policy's bounds: the
bounds come last, so nothing that was learned leaves them.
"""

import dataclasses
import math
from collections.abc import Mapping

from loomidi.contracts import Evidence, Finding, FoldKind, FoldSpec, Severity, content_id
from loomidi.ionic.enforcer.bounds import Bounds
from loomidi.ionic.enforcer.learning import Usual, UsualWindows

PATTERN = "threshold_off"
_SURE = 0.95  # how sure a finding of tuning can be at most


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """The thresholds in force for one service or source."""

    target: str  # entity id: service/ADDRESS:PORT/tcp, host/ADDRESS
    kind: str  # service, source
    thresholds: Mapping[str, int]  # counts in one short window; 0: none
    own: bool  # False: those of all
    left_s: float = 0.0  # until its own end


@dataclasses.dataclass(frozen=True, slots=True)
class Tuning:
    """One proposed change."""

    finding: Finding
    fold: FoldSpec
    before: Mapping[str, int]
    usual: Mapping[str, Usual]


def tuned(
    learned: UsualWindows, key: bytes, standing: Standing, bounds: Bounds, when: tuple[int, int]
) -> Tuning | None:
    """The change for one service or source; None when there is nothing to change. `when`: now, and the window, ns.

    Thresholds of its own that are about to end are proposed anew, so that they go on without a gap.
    """
    now_ns, window_ns = when
    usual, ends = learned.usual(key), bounds.of(standing.kind)
    if not usual:
        return None
    reference = learned.reference(key, now_ns, standing.thresholds) if standing.own else {}
    wanted = {name: _threshold(usual[name], reference.get(name, 0), ends[name], bounds) for name in ends}
    before = {name: standing.thresholds.get(name, 0) for name in ends}
    ending = standing.own and standing.left_s < bounds.ttl_s / 2
    if not ending and not any(_worth(before[name], wanted[name], bounds.worth) for name in ends):
        return None
    finding = _finding(standing.target, usual, before, wanted, now_ns)
    fold = FoldSpec(
        FoldKind.RECONFIGURE_NETWORK,
        standing.target,
        "tune",
        ttl_s=bounds.ttl_s,
        because=finding.id,
        undo=f"The thresholds before are put back; after {bounds.ttl_s:g} s those of all hold again by themselves.",
        thresholds={**wanted, "window_ms": window_ns // 1_000_000},
    )
    return Tuning(finding, fold, before, usual)


def _threshold(usual: Usual, reference: float, ends: tuple[int, int], bounds: Bounds) -> int:
    """1 usual at most times the margin   2 within a share of the day's first   3 within the policy's bounds."""
    # 1 usual
    wanted = usual.most * bounds.margin
    # 2 slowly
    if reference > 0:
        share = bounds.most_change_per_day
        wanted = min(max(wanted, reference * (1 - share)), reference * (1 + share))
    # 3 within bounds
    return min(max(math.ceil(wanted), ends[0]), ends[1])


def _worth(before: int, wanted: int, share: float) -> bool:
    return before == 0 or abs(wanted - before) > share * before


def _finding(
    target: str, usual: Mapping[str, Usual], before: Mapping[str, int], wanted: Mapping[str, int], now_ns: int
) -> Finding:
    """What the change rests on: for each counter what is usual, and what the threshold is held against."""
    windows = min(one.windows for one in usual.values())
    facts = tuple(
        Evidence(
            f"usual_{name}",
            round(usual[name].most, 1),
            before[name],
            "counts/window",
            f"median {usual[name].median:.0f}, deviation {usual[name].deviation:.0f}; tuned to {wanted[name]}",
        )
        for name in wanted
    )
    return Finding(
        id=content_id("finding", f"{PATTERN} {target} {sorted(wanted.items())} {now_ns}"),
        pattern=PATTERN,
        techniques=(),
        severity=Severity.LOW,
        confidence=round(min(_SURE, 1 - 5 / max(windows, 10)), 3),
        entities=(target,),
        first_ns=now_ns,
        last_ns=now_ns,
        evidence=(*facts, Evidence("windows", windows, None, "windows", "looks without an open finding")),
        source="ionic.enforcer",
    )
