"""What a client is told of its body: 202 with counts, or 422 with each refused row and why.

Called by `handling` and `grouping`. In: counts. Out: an `Answer` or a `Problem`. The rule (docs/adr/0044): a body with
a row that cannot be used is refused as a whole, and nothing of it is published, unless the client sent `Prefer:
handling=lenient`; then the good rows are taken and the others told.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from loomidi.services.http.problems import Answer, Problem
from loomidi.services.ingest_api.committing import Held

MOST_TOLD = 100  # refused rows that are told one by one
LENIENT = (("Preference-Applied", "handling=lenient"),)


@dataclasses.dataclass(slots=True)
class Refusals:
    """Rows of one body that cannot be used."""

    rows: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    first: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, refused: Iterable[tuple[int, str]], causes: dict[str, str], offset: int = 0) -> None:
        """Index and reason of each; `offset` is taken off the index."""
        for index, reason in refused:
            self.rows += 1
            self.reasons[reason] += 1
            if len(self.first) < MOST_TOLD:
                self.first.append({"index": index - offset, "reason": reason, "cause": causes[reason]})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rows": self.rows, "reasons": dict(self.reasons), "first": self.first}


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A body that was accepted."""

    id: str  # of the envelope that holds its first row, and the row's place in it: `n1.ingest/1795663455/17#40`
    stream: str
    kind: str
    rows: int
    duplicate: bool = False  # all of it had been held before, under the same key


def row_id(held: Sequence[Held], row: int) -> tuple[str, bool]:
    """The id of a row of a commit, and whether its envelope had been held before."""
    for envelope in held:
        if row < envelope.rows:
            return f"{envelope.id}#{row}", envelope.duplicate
        row -= envelope.rows
    raise IndexError(row)


def accepted(taken: Taken, refusals: Refusals, *, lenient: bool, packets: dict[str, int] | None = None) -> Answer:
    """202."""
    if not refusals.rows and not refusals.first and packets is None:  # most of them: a third of the time of `dumps`
        again = "true" if taken.duplicate else "false"
        text = f'{{"id": "{taken.id}", "stream": "{taken.stream}", "kind": "{taken.kind}", "accepted": {{"rows": '
        text += f'{taken.rows}}}, "refused": {{"rows": 0, "reasons": {{}}, "first": []}}, "duplicate": {again}}}'
        return Answer(202, text.encode(), headers=LENIENT if lenient else ())
    document: dict[str, Any] = {
        "id": taken.id,
        "stream": taken.stream,
        "kind": taken.kind,
        "accepted": {"rows": taken.rows},
        "refused": refusals.as_dict(),
        "duplicate": taken.duplicate,
    }
    if packets is not None:
        document["packets"] = packets
    return Answer(202, json.dumps(document).encode(), headers=LENIENT if lenient else ())


def refused(refusals: Refusals, good: int) -> Problem:
    """422; nothing was published."""
    detail = (
        f"{refusals.rows} of {refusals.rows + good} rows cannot be used, nothing was taken: mend them, or send "
        "`Prefer: handling=lenient` to have the others taken"
        if good
        else "no row can be used, nothing was taken: mend them"
    )
    return Problem("refused-rows", detail, accepted={"rows": 0}, refused=refusals.as_dict())
