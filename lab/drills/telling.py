"""What was told of a scenario: the findings that name somebody of it, whom they blame, and in which words. Pure.

Called by `noticing` and by tests. In: rows of FINDINGS, a scenario as it was measured. Out: `Told`, in the order of
telling. Leaves who is meant to `matching`.
"""

import dataclasses
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from loomidi_lab.drills.matching import Measured, named

if TYPE_CHECKING:
    import pyarrow as pa

    from loomidi_lab.staging.records import EntityRef, Occurrence

_CAUSE = "root_cause_"  # evidence of that name and a number, the likeliest first
_SAID, _DONE_BY = "Likely cause: ", "Involved: "  # of an explanation


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """One finding as it was told once."""

    finding_id: str
    told_ns: int
    state: str  # new, worse, again, over
    pattern: str
    severity: str
    source: str  # the detector
    entities: tuple[str, ...]  # whom to act on first
    causes: tuple[str, ...]  # likely ones as the evidence names them, the likeliest first; none by most rules
    explanation: str
    also: tuple[str, ...] = ()  # patterns of rules that found the same

    @property
    def alarm(self) -> bool:
        """Whether it is more than information."""
        return self.severity != "info"

    def blames(self, who: Iterable[Measured]) -> bool:
        """Whether one of these is among its causes, and its explanation says so in words.

        A rule on flows tells no causes: it blames whom it names first, and says so as who is involved.
        """
        blamed, marker = (self.causes, _SAID) if self.causes else (self.entities[:1], _DONE_BY)
        words = self.explanation.partition(marker)[2].partition("\n")[0]
        wanted = list(who)
        return any(named([one], wanted) and one.partition("/")[2] in words for one in blamed)

    def line(self) -> str:
        """For a person who looks for what went wrong."""
        also = f", also seen by {', '.join(self.also)}" if self.also else ""
        causes = f"; causes {', '.join(self.causes)}" if self.causes else ""
        return (
            f"{self.state} {self.severity} {self.pattern} by {self.source}: {' '.join(self.entities[:3])}{causes}{also}"
        )


def told_of(findings: "pa.Table") -> list[Told]:
    """Every row, in the order in which they were told."""
    rows = findings.sort_by("told")
    times = rows["told"].cast("int64").to_pylist()
    plain = rows.drop_columns(["told", "first", "last"]).to_pylist()
    return [_told(row, told_ns) for row, told_ns in zip(plain, times, strict=True)]


def about(told: Iterable[Told], everybody: Iterable[Measured]) -> list[Told]:
    """Those that name one of these, among their entities or causes."""
    wanted = list(everybody)
    return [one for one in told if named((*one.entities, *one.causes), wanted)]


def guilty(run: "Occurrence") -> list[Measured]:
    """Whom a scenario's truth holds to be the cause: who does it, or who suffers where nobody does it."""
    drawn = run.drawn
    return [*(run.sources or run.victims)] or _planned(drawn.sources or drawn.victims)


def involved(run: "Occurrence") -> list[Measured]:
    """All whom its truth names."""
    drawn = run.drawn
    return [*run.sources, *run.victims] or _planned((*drawn.sources, *drawn.victims))


def _planned(who: Iterable["EntityRef"]) -> list[Measured]:
    """An act that did not come to its end has only the names that were planned."""
    return [{"entity": one.as_dict()} for one in who]


def _told(row: dict[str, Any], told_ns: int) -> Told:
    evidence = json.loads(row["evidence"])
    causes = sorted((one for one in evidence if one["name"].startswith(_CAUSE)), key=lambda one: str(one["name"]))
    return Told(
        finding_id=row["finding_id"],
        told_ns=told_ns,
        state=row["state"],
        pattern=row["pattern"],
        severity=row["severity"],
        source=row["source"],
        entities=tuple(row["entities"]),
        causes=tuple(str(one["value"]) for one in causes),
        explanation=row["explanation"],
        also=tuple(str(one["value"]) for one in evidence if one["name"] == "also_seen_by"),
    )
