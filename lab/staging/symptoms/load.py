"""Symptom `load`: what the shop's users saw during the act, as a value or by ratio to the time just before it."""

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.stages import LoadFigures
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_BEFORE_NS = 20_000_000_000


@dataclasses.dataclass(slots=True)
class Load:
    """See `make`. Not frozen: it holds the figure from before the act."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool
    before: float = 0.0

    def prepare(self, stage: "Stage") -> None:
        """The figure over the last seconds, where a ratio is asked for."""
        if self.arguments.get("as") == "ratio":
            now = time.time_ns()
            self.before = self._figure(stage, now - _BEFORE_NS, now)

    def measure(self, stage: "Stage") -> Measured:
        """The figure since the act began."""
        value = self._figure(stage, stage.start_ns, stage.end_ns or time.time_ns())
        if self.arguments.get("as") == "ratio":
            value /= max(1e-3, self.before)
        return Measured(round(value, 3), self.comparison.holds(value))

    def _figure(self, stage: "Stage", start_ns: int, end_ns: int) -> float:
        if stage.shop is None:
            raise EnvironmentLacks("no user load runs; start it with `loomidi-lab shop load`")
        figures = stage.shop.load_between(start_ns, end_ns, self.arguments.get("journey", ""))
        return figure(figures, self.arguments["measure"], (end_ns - start_ns) / 1e9)


def make(arguments: Mapping[str, Any]) -> Load:
    """From the scenario's mapping."""
    comparison = Comparison.of(arguments)
    times = " times the usual" if arguments.get("as") == "ratio" else ""
    return Load(arguments, comparison, f"{arguments['measure']} {comparison}{times}", comparison.final)


def figure(figures: LoadFigures, measure: str, span_s: float) -> float:
    """One number of what users saw."""
    if measure == "error_share":
        return figures.errors / max(1, figures.requests)
    if measure == "requests_per_second":
        return figures.requests / max(0.001, span_s)
    return float(getattr(figures, measure))
