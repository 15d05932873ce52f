"""The table of docs/resilience.md: each scenario without Loomidi beside with it, over all seeds. Pure.

Called by `commands`. In: runs. Out: lines of Markdown, and the last line of a drill. A run that was void without
Loomidi (its own symptoms did not come) says nothing about anybody: it is counted, and left out of the figures.
"""

import statistics
from collections.abc import Iterable, Sequence

from loomidi_lab.drills.records import Drilled

BEGIN, END = "<!-- drill: begin (loomidi-lab drill) -->", "<!-- drill: end -->"
_HEAD = (
    "| scenario | seeds | detected | after | as | of others | first fold | right / harmful folds | trouble lasted: off "
    "| with | users' errors: off | with | undone |",
    "|---|---:|---:|---:|---|---:|---:|---|---:|---:|---:|---:|---:|",
)
_TITLES = {"attack": "Attacks", "failure": "Failures", "benign": "Look-alikes: nothing is to be done"}


def latest(runs: Iterable[Drilled]) -> list[Drilled]:
    """The last run of each scenario, seed, network and way."""
    return list({run.key: run for run in runs}.values())


def lines(runs: Iterable[Drilled]) -> list[str]:
    """A table for each network and category."""
    told: list[str] = []
    kept = latest(runs)
    for network in sorted({run.network for run in kept}):
        for category, title in _TITLES.items():
            group = [run for run in kept if run.network == network and run.category == category]
            names = sorted({run.scenario for run in group})
            if names:
                told += [f"**{title}**, network {network}", "", *_HEAD]
                told += [_row(name, [run for run in group if run.scenario == name]) for name in names]
                told += [""]
    return [*told, ending(kept)]


def ending(runs: Iterable[Drilled]) -> str:
    """`detected N/M, benign lost N, undone N/M` over the runs with Loomidi.

    Lost: users' errors beyond those of the same run without Loomidi, where no fold was to be made at all (look-alikes).
    """
    kept = latest(runs)
    off = {run.key[:3]: run for run in kept if not run.defended}
    acts = [run for run in kept if run.defended and run.category != "benign" and _happened(run, off)]
    calm = [run for run in kept if run.defended and run.category == "benign"]
    lost = sum(max(0, run.errors - off[run.key[:3]].errors) for run in calm if run.key[:3] in off)
    seen = sum(run.detected_s is not None for run in acts)
    applied, undone = sum(run.applied for run in kept), sum(run.undone for run in kept)
    return f"detected {seen}/{len(acts)}, benign lost {lost}, undone {undone}/{applied}"


def _happened(run: Drilled, off: dict[tuple[str, int, str], Drilled]) -> bool:
    """Whether it took hold, by its own symptoms: in this run, or in the same one without Loomidi."""
    return run.confirmed or (run.key[:3] in off and off[run.key[:3]].confirmed)


def _row(name: str, runs: Sequence[Drilled]) -> str:
    off = {run.key[:3]: run for run in runs if not run.defended}
    without = [run for run in off.values() if run.confirmed]
    acts = [run for run in runs if run.defended and _happened(run, off)]
    seen = [run.detected_s for run in acts if run.detected_s is not None]
    void = len({run.seed for run in runs}) - len({run.seed for run in (*acts, *without)})
    cells = [
        name,
        f"{len({run.seed for run in (*acts, *without)})}{f' ({void} void)' if void else ''}",
        f"{len(seen)}/{len(acts)}",
        _median(seen),
        ", ".join(sorted({run.pattern for run in acts if run.pattern})),
        str(sum(run.others for run in acts)),
        _median([run.folded_s for run in acts if run.folded_s is not None]),
        f"{sum(run.right for run in acts)} / {sum(run.harmful for run in acts)}",
        _median([run.over_s for run in without if run.over_s is not None]),
        _median([run.over_s for run in acts if run.over_s is not None]),
        _errors(without),
        _errors(acts),
        f"{sum(run.undone for run in acts)}/{sum(run.applied for run in acts)}",
    ]
    return f"| {' | '.join(cells)} |"


def _errors(runs: Sequence[Drilled]) -> str:
    requests = sum(run.requests for run in runs)
    return f"{sum(run.errors for run in runs):,} of {requests:,}" if requests else ""


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} s" if values else ""
