"""Times of the environment, from what the lab measured: until it is found, folded, over.

Called by `troubles`, `simulating` and `comparing`. In: result lines of `loomidi-lab heal --results` (one JSON object a
line), or the table of docs/healing.md. Out: `Figures`: for each scenario and kind of fold a mean, a deviation, how many
runs they rest on and where from. What was not measured is drawn from what was, pooled, and says so.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts import InputError

Line = Mapping[str, Any]
ONE_RUN = 0.5  # deviation, as a part of the mean, where one run says nothing about it: an assumption
_CARRIED = ("Released", "Active", "RolledBack", "Superseded", "Expired")
_NEEDED = ("scenario", "defended", "detected_s", "folded_s", "over_s", "lasted_s", "folds")


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Seconds."""

    mean: float
    deviation: float
    runs: int
    source: str

    def draw(self, rng: np.random.Generator) -> float:
        """A log-normal of this mean and deviation: times are above zero and have long tails."""
        if self.mean <= 0 or self.deviation <= 0:
            return max(self.mean, 0.0)
        wide = math.log1p((self.deviation / self.mean) ** 2)
        return float(rng.lognormal(math.log(self.mean) - wide / 2, math.sqrt(wide)))


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What is not in a mapping is drawn from `any_...`, which pools all that is."""

    detected: Mapping[str, Spread]  # by scenario, from the fault to the plan
    folded: Mapping[str, Spread]  # by kind, from the plan to the effect
    over: Mapping[str, Spread]  # by kind, from the effect until the trouble is seen no more
    after: Mapping[str, Spread]  # by scenario, from its own end until then
    lasted: Mapping[str, Spread]  # by scenario, the act
    any_detected: Spread
    any_folded: Spread
    any_over: Spread
    any_after: Spread

    def detected_s(self, scenario: str, rng: np.random.Generator) -> float:
        """Seconds."""
        return self.detected.get(scenario, self.any_detected).draw(rng)

    def folded_s(self, kind: str, rng: np.random.Generator) -> float:
        """Seconds."""
        return self.folded.get(kind, self.any_folded).draw(rng)

    def over_s(self, kind: str, rng: np.random.Generator) -> float:
        """Seconds."""
        return self.over.get(kind, self.any_over).draw(rng)

    def after_s(self, scenario: str, rng: np.random.Generator) -> float:
        """Seconds."""
        return self.after.get(scenario, self.any_after).draw(rng)


def calibrate(lines: Iterable[Line], source: str) -> Figures:
    """From result lines of the lab. Raises InputError for lines that lack a field, or none with Loomidi acting.

    The recovery of a fold counts only where the trouble was over before the act was; what goes on longer than its act
    is the cause's own after-effect, taken from the runs without Loomidi.
    """
    kept = [_checked(line) for line in lines]
    acted = [line for line in kept if line["defended"] and line["folded_s"] is not None]
    if not acted:
        raise InputError(f"{source}: no run in which Loomidi acted; run `loomidi-lab heal` with --results first")
    alone = [line for line in kept if not line["defended"] and line["over_s"] is not None]
    in_time = [line for line in acted if line["over_s"] is not None and line["over_s"] < line["lasted_s"]]
    scenario, kind = (lambda line: line["scenario"]), first_kind
    detected = _spreads(acted, scenario, lambda line: line["detected_s"], source)
    folded = _spreads(acted, kind, lambda line: line["folded_s"] - line["detected_s"], source)
    over = _spreads(in_time, kind, lambda line: line["over_s"] - line["folded_s"], source)
    after = _spreads(alone, scenario, lambda line: line["over_s"] - line["lasted_s"], source)
    lasted = _spreads(alone or acted, scenario, lambda line: line["lasted_s"], source)
    pools = [_pooled(part.values(), source) for part in (detected, folded, over, after)]
    return Figures(detected, folded, over, after, lasted, *pools)


def read_lines(path: Path) -> list[Line]:
    """Lines of a results file. Raises InputError with the number of a line that is none."""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(_checked(json.loads(text)))
        except (json.JSONDecodeError, InputError) as error:
            raise InputError(f"{path}:{number}: no result of `loomidi-lab heal`: {error}") from error
    return lines


def read_page(text: str) -> list[Line]:
    """The same from the table of docs/healing.md, which rounds to a tenth of a second."""
    lines: list[Line] = []
    for row in re.findall(r"^\| ([a-z0-9-]+ \|.*) \|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in row.split(" | ")]
        if len(cells) != 12 or cells[2] not in ("acts", "off"):
            continue
        detected, folded, over, lasted = (_seconds(cell) for cell in cells[3:7])
        line = {"scenario": cells[0], "defended": cells[2] == "acts", "detected_s": detected, "folded_s": folded}
        folds = [] if cells[10] == "none" else cells[10].split("<br>")
        lines.append({**line, "over_s": over, "lasted_s": lasted, "folds": folds})
    return lines


def first_kind(line: Line) -> str:
    """Kind of the first fold that was carried out; '' where none was."""
    for fold in line["folds"]:
        kind, _target, phase, *_ = [*str(fold).split(), "", ""]
        if phase.rstrip(":") in _CARRIED:
            return kind
    return ""


# The table of docs/healing.md as it stood on 2026-11-26: one run each, two cores, other work on the machine.
_MEASURED = (
    ("scan-services", False, None, None, 5.7, 5.7, ""),
    ("scan-services", True, 2.8, 3.4, 3.4, 45.0, "ISOLATE_POD"),
    ("cpu-saturation", False, None, None, 49.5, 45.0, ""),
    ("cpu-saturation", True, 21.7, 22.5, 26.8, 45.0, "SCALE_OUT"),
    ("bad-rollout-crash", False, None, None, 45.4, 45.0, ""),
    ("bad-rollout-crash", True, 6.7, 7.8, 9.4, 45.1, "ROLLBACK"),
    ("syn-flood", False, None, None, 19.1, 18.6, ""),
    ("syn-flood", True, 9.5, 10.0, 10.5, 19.0, "RECONFIGURE_NETWORK"),
    ("node-pressure", False, None, None, 20.9, 19.3, ""),
    ("node-pressure", True, 18.2, 19.2, 23.0, 19.2, "EVICT"),
)


def measured() -> Figures:
    """From the table of docs/healing.md."""
    names = ("scenario", "defended", "detected_s", "folded_s", "over_s", "lasted_s")
    rows = [
        dict(zip(names, row, strict=False), folds=[f"{row[-1]} x Released"] if row[-1] else []) for row in _MEASURED
    ]
    return calibrate(rows, "docs/healing.md, 2026-11-26")


def _checked(line: Any) -> Line:
    lacking = [name for name in _NEEDED if not isinstance(line, Mapping) or name not in line]
    if lacking:
        raise InputError(f"it lacks {', '.join(lacking)}")
    checked: Line = line
    return checked


def _spreads(lines: Sequence[Line], key: Any, value: Any, source: str) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for line in lines:
        found.setdefault(key(line), []).append(max(0.0, float(value(line))))
    return {name: _spread(values, source) for name, values in found.items() if name}


def _spread(values: Sequence[float], source: str) -> Spread:
    mean = float(np.mean(values))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else ONE_RUN * mean
    return Spread(mean, deviation, len(values), source)


def _pooled(spreads: Iterable[Spread], source: str) -> Spread:
    means = [spread.mean for spread in spreads] or [1.0]
    return Spread(
        float(np.mean(means)), float(np.std(means)) or ONE_RUN * float(np.mean(means)), 0, f"pooled, {source}"
    )


def _seconds(cell: str) -> float | None:
    return float(cell.removesuffix(" s")) if cell else None
