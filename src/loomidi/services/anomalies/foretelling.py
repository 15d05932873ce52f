"""What was told before its window was whole, until the closed window confirms it or does not.

Called by `part`. In: incidents by open windows, incidents by closed ones. Out: what is to be told of both under
one id, from the first word to the last: new (early), again (confirmed), worse, over. What no closed window confirms is
over, and counted as withdrawn. State is two plain maps, which `states` writes down. Pure.
"""

import collections
import dataclasses
from collections.abc import Iterator

from loomidi.contracts import Evidence
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.incident_findings import STATES
from loomidi.services.sightings import AGAIN, NEW, OVER

EARLY = Evidence(
    "early", 1, None, "", "told by windows that are not whole yet; told again when they are, or taken back"
)
WITHDRAWN = Evidence("withdrawn", 1, None, "", "it was told early, and the whole window does not confirm it")


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """One row to be told."""

    incident: Incident
    state: str  # of sightings
    evidence: tuple[Evidence, ...] = ()


class Foretelling:
    """One part's."""

    def __init__(self) -> None:
        self.early: dict[str, Incident] = {}  # by id: told early, not confirmed yet
        self.names: dict[str, str] = {}  # id of the judge -> id under which it was told early
        self.counts = collections.Counter[str]()

    def first(self, incidents: list[Incident]) -> Iterator[Telling]:
        """Of those by open windows, what was not told yet."""
        for one in incidents:
            if not any(_meet(one, other) for other in self.early.values()):
                self.early[one.incident_id] = one
                self.counts["early"] += 1
                yield Telling(one, NEW, (EARLY,))

    def then(self, incident: Incident) -> Iterator[Telling]:
        """One by closed windows, under the id that people know it by."""
        known, state = self.names.get(incident.incident_id), STATES[incident.state]
        mine = [name for name, one in self.early.items() if _meet(incident, one)] if state == NEW else []
        if mine:
            known, state = mine[0], AGAIN
            self.names[incident.incident_id] = known
            self.counts["early_confirmed"] += len(mine)
        for name in mine[1:]:  # two that turn out to be one
            yield Telling(self.early[name], OVER)
        for name in mine:
            del self.early[name]
        if state == OVER:
            self.names.pop(incident.incident_id, None)
        yield Telling(dataclasses.replace(incident, incident_id=known) if known else incident, state)

    def lapsed(self, done_ns: int) -> Iterator[Telling]:
        """What was told early of windows that are judged by now, and was not confirmed."""
        for name in [name for name, one in self.early.items() if one.last_ns <= done_ns]:
            self.counts["early_withdrawn"] += 1
            yield Telling(self.early.pop(name), OVER, (WITHDRAWN,))


def _meet(one: Incident, other: Incident) -> bool:
    """Whether they have a pair in common."""
    return bool({pair[:2] for pair in one.pairs} & {pair[:2] for pair in other.pairs})
