"""Forecasts of exhaustion as findings.

Called by whoever acts on them. In: `FORECASTS`. Out: one `Finding` of pattern `exhaustion` for each series that is on
its way, the same id while it is. A forecast is a reason to look and to prepare, never an order.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id
from loomidi.origami.forecasts.exhausting import ExhaustionSettings

FORETOLD = ("exhaustion", "restart_loop", "failure_cascade")  # the patterns of this folder's findings
SOURCE = "origami.forecasts.exhausting"


def exhaustions(forecasts: pa.Table, settings: ExhaustionSettings | None = None) -> list[Finding]:
    """Of the rows that are on their way; the surest first. `settings`: those of the `Exhaustion` that gave them."""
    given = settings or ExhaustionSettings()
    told = forecasts.filter(pc.is_valid(forecasts["since"])).sort_by([("probability", "descending")])
    whens = {name: told[name].cast(pa.int64()).to_pylist() for name in ("timestamp", "since")}
    rows = told.drop_columns(["timestamp", "since"]).to_pylist()
    return [_finding(row, given, *when) for row, *when in zip(rows, whens["timestamp"], whens["since"], strict=True)]


def _finding(row: dict[str, Any], settings: ExhaustionSettings, at_ns: int, since_ns: int) -> Finding:
    metric = row["metric"]
    evidence = (
        Evidence("metric", metric, None, "", "what runs out"),
        Evidence("probability", _short(row["probability"]), settings.told, "1", f"within {settings.horizon_s:g} s"),
        Evidence("exhausted_from", _when(row["earliest_s"]), None, "s", f"from now, at level {settings.level:g}"),
        Evidence("exhausted_until", _when(row["latest_s"]), None, "s", f"from now, at level {settings.level:g}"),
        Evidence("level", _short(row["level"]), _short(row["capacity"]), "", "used now, beside the capacity"),
        Evidence("slope", _short(row["slope"]), None, "1/s", "that is added each second, without what is noise"),
        Evidence("capacity_is", "learned" if row["learned"] else "told", None, "", "how the capacity is known"),
        Evidence("readings", row["readings"], None, "", f"that this rests on; resets before: {row['resets']}"),
    )
    soon = row["latest_s"] is not None and row["latest_s"] <= settings.horizon_s / 2
    return Finding(
        id=content_id("finding", ["exhaustion", row["entity"], metric, since_ns]),
        pattern="exhaustion",
        techniques=(),
        severity=Severity.HIGH if soon else Severity.MEDIUM,
        confidence=_short(row["probability"]),
        entities=(row["entity"],),
        first_ns=since_ns,
        last_ns=at_ns,
        evidence=evidence,
        source=SOURCE,
    )


def _when(seconds: float | None) -> float | str:
    return "beyond the horizon" if seconds is None else round(seconds, 1)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
