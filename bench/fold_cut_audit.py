"""Which requests a Fold costs, and where its time goes, read from the API server's audit log.

Called by bench/fold_cut.py. In: the log's lines, accounts, the times of rounds. Out: requests by who, verb and
resource; for each round the moments of the Fold's own writes. Leases are not in the lab's audit log; watches are left
out, they are there once and not for each Fold.
"""

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.fold.resources.objects import nanoseconds

Object = Mapping[str, Any]
STAGES = (  # what ends with each of a Fold's writes, in their order
    "planned, judged, posted",
    "seen by the operator, judged, approved, inverse stored: Applying",
    "asked once more, ordered, cut",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    who: str  # the account's name
    verb: str
    what: str  # resource, with its subresource
    name: str
    code: int
    from_ns: int
    to_ns: int

    @property
    def kind(self) -> str:
        """For a list of them."""
        return f"{self.who.removeprefix('loomidi-')} {self.verb} {self.what}"


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One round: the finding, the last packet, the end."""

    fold: str
    found_ns: int
    cut_ns: int
    over_ns: int


def asked(log: Path, accounts: Iterable[str], offset: int = 0) -> list[Asked]:
    """What these accounts asked since the log had this size."""
    users = {f"system:serviceaccount:loomidi-system:{account}": account for account in accounts}
    with log.open("rb") as file:
        file.seek(offset)
        events = [json.loads(line) for line in file if line.endswith(b"\n")]
    done = [one for one in events if one["stage"] == "ResponseComplete" and one["verb"] != "watch"]
    return [_asked(one, users) for one in done if one["user"].get("username") in users]


def _asked(event: Object, users: Mapping[str, str]) -> Asked:
    about = event.get("objectRef") or {}
    what = "/".join(part for part in (about.get("resource"), about.get("subresource")) if part)
    return Asked(
        who=users[event["user"]["username"]],
        verb=event["verb"],
        what=what or event["requestURI"],
        name=about.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        from_ns=nanoseconds(event["requestReceivedTimestamp"]),
        to_ns=nanoseconds(event["stageTimestamp"]),
    )


def per_fold(requests: Sequence[Asked], spans: Sequence[Span], *, whole: bool) -> dict[str, float]:
    """How many of each kind a Fold costs, the most frequent first: up to the cut, or in its whole life."""
    counted: collections.Counter[str] = collections.Counter()
    for span in spans:
        until_ns = span.over_ns if whole else span.cut_ns
        counted.update(one.kind for one in requests if span.found_ns <= one.from_ns <= until_ns)
    return {kind: round(count / len(spans), 2) for kind, count in counted.most_common()}


def stages(requests: Sequence[Asked], span: Span) -> list[int] | None:
    """Nanoseconds of each of `STAGES`; None for a round whose writes are not all there, one after the other."""
    own = [one for one in requests if one.code in (200, 201) and one.from_ns >= span.found_ns]
    posted = [one for one in own if (one.verb, one.what) == ("create", "folds")]
    written = [one for one in own if one.verb == "patch" and one.name == span.fold and one.what.startswith("folds")]
    marks = [one.to_ns for one in (*posted[:1], *sorted(written, key=lambda one: one.to_ns)[: len(STAGES) - 2])]
    moments = [span.found_ns, *marks, span.cut_ns]
    if len(moments) != len(STAGES) + 1:
        return None
    return [after - before for before, after in itertools.pairwise(moments)]
