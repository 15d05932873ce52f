"""What rules have found of late, so that one thing is not told twice as two alarms.

Called by `part`. In: rows of the stream `findings`, an incident. Out: the findings of rules about one of its pairs
at the same time. Memory is bounded: the oldest makes room. By which end a finding's entity is known in windows is left
to `origami.causes.placements`.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.incident_findings import SOURCE, Seen

_MOST = 1024
_SLACK_NS = 60 * 10**9  # flows are cut and windows close at other moments than a rule is broken
_COLUMNS = ("finding_id", "pattern", "techniques", "entities", "first", "last", "source")
End = Callable[[str], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One finding of a rule."""

    seen: Seen
    entities: tuple[str, ...]
    first_ns: int
    last_ns: int


class RuleFindings:
    """By id, the one heard of last behind."""

    def __init__(self) -> None:
        self._found: collections.OrderedDict[str, Found] = collections.OrderedDict()

    def learn(self, batch: pa.RecordBatch) -> int:
        """Rows of FINDINGS, without those of a model; how many were new to us."""
        rows = batch.select(_COLUMNS).filter(pc.invert(pc.starts_with(batch.column("source"), SOURCE)))
        times = {name: rows.column(name).cast(pa.int64()).to_pylist() for name in ("first", "last")}
        known = len(self._found.keys() & {*rows.column("finding_id").to_pylist()})
        for at, row in enumerate(rows.drop_columns(["first", "last"]).to_pylist()):
            self._found.pop(row["finding_id"], None)
            seen = Seen(row["finding_id"], row["pattern"], tuple(row["techniques"]))
            span = times["first"][at], times["last"][at]
            self._found[seen.finding_id] = Found(seen, tuple(row["entities"]), *span)
        while len(self._found) > _MOST:
            self._found.popitem(last=False)
        return len({*rows.column("finding_id").to_pylist()}) - known

    def of(self, incident: Incident, end: End) -> list[Seen]:
        """Those about one of its pairs, or about one of its ends alone, that overlap it in time."""
        return [
            found.seen
            for found in self._found.values()
            if _meets(found, incident) and _about({end(one) for one in found.entities}, incident)
        ]

    def as_list(self) -> list[dict[str, Any]]:
        """For a snapshot."""
        return [dataclasses.asdict(found) for found in self._found.values()]

    def restore(self, plain: Iterable[dict[str, Any]]) -> None:
        """Go on from `as_list`."""
        for one in plain:
            about = one["seen"]
            seen = Seen(about["finding_id"], about["pattern"], tuple(about["techniques"]))
            span = one["first_ns"], one["last_ns"]
            self._found[seen.finding_id] = Found(seen, tuple(one["entities"]), *span)


def _meets(found: Found, incident: Incident) -> bool:
    """Within a minute."""
    begins = found.first_ns - _SLACK_NS <= incident.last_ns
    return begins and found.last_ns + _SLACK_NS >= incident.first_ns


def _about(mine: set[str], incident: Incident) -> bool:
    """Two ends of it are a pair, or one that began and another one; or it names but one, which is of the incident.

    An incident names its first pairs alone: a scan of hundreds is still the scan of who began it.
    """
    ends, began = {*incident.entities}, {source for source, _, _ in incident.pairs}
    pairs = ({source, destination} for source, destination, _ in incident.pairs)
    both = any(pair <= mine for pair in pairs) or (bool(mine & began) and len(mine & ends) > 1)
    return both or (len(mine) == 1 and bool(mine & ends))
