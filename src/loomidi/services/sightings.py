"""What a watch tells: flows in sum, findings, problems, and where every packet went. Plain records, JSON-able.

Made by `watching`; read by `loomidi watch`, which prints them, and by the lab, which compares them with the truth.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.insight.report import ProposedFold
from loomidi.services.naming import Named

NEW, WORSE, AGAIN, OVER = "new", "worse", "again", "over"


@dataclasses.dataclass(frozen=True, slots=True)
class Talk:
    """Who spoke to whom in the interval, all services of the other together."""

    source: str  # entity id of the initiator in the graph
    target: str
    services: tuple[str, ...]  # the busiest, such as 443/tcp, at most 4
    service_count: int
    source_name: str  # of the book, "" when it knows none
    target_name: str
    flows: int
    packets: int
    octets: int


@dataclasses.dataclass(frozen=True, slots=True)
class FlowsSeen:
    """All flows that ended in an interval, and the talkers with the most octets."""

    at_ns: int
    seconds: float
    links: int
    flows: int
    packets: int
    octets: int  # of the IP packets, both directions
    again: int  # flow records of another link on the same conversation, counted once
    talks: tuple[Talk, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"type": "flow"} | dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Sighting:
    """One finding, told when it is new, when it has become worse, when it is over; where asked for, while it grows."""

    at_ns: int
    state: str  # new, worse, again, over
    updates: int  # times that it grew since it was new
    named: Named
    folds: tuple[ProposedFold, ...]  # nothing was applied
    names: Mapping[str, str]  # of the bystanders that the book knows, by their id in the plans

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `entities` as far as the address book knows them; `finding.entities` are their ids."""
        finding = self.named.finding
        return {
            "type": "finding",
            "state": self.state,
            "at_ns": self.at_ns,
            "updates": self.updates,
            "late_s": round((self.at_ns - finding.last_ns) / 1e9, 3),
            "finding": finding.as_dict(),
            "entities": self.named.as_dicts(),
            "folds": [_fold(proposed) for proposed in self.folds],
            "names": dict(self.names),
        }

    def in_names(self, proposed: ProposedFold) -> ProposedFold:
        """For words only, the plan's id is bound to its content: the bystanders by their names."""
        radius = proposed.plan.blast_radius
        bystanders = tuple(dict.fromkeys(self.names.get(entity, entity) for entity in radius.bystanders))
        plan = dataclasses.replace(proposed.plan, blast_radius=dataclasses.replace(radius, bystanders=bystanders))
        return dataclasses.replace(proposed, plan=plan)


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be read; the watch goes on."""

    at_ns: int
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"type": "problem"} | dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Balanced:
    """The end: where every packet went. `received` is the sum of its other parts, for each link and in all."""

    at_ns: int
    seconds: float
    packets: Mapping[str, int]
    links: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, int]  # flows, findings, updates, and what went beyond a bound

    @property
    def adds_up(self) -> bool:
        """Whether no received packet was left unread, and the flows hold all that were accounted."""
        held = self.counts.get("in_flows", 0) + self.counts.get("undelivered", 0)
        return self.packets.get("unread", 0) == 0 and self.packets.get("accounted", 0) == held

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {name: dict(parts) for name, parts in self.links.items()}
        return {
            "type": "balance",
            "at_ns": self.at_ns,
            "seconds": self.seconds,
            "adds_up": self.adds_up,
            "packets": dict(self.packets),
            "links": plain,
            "counts": dict(self.counts),
        }


Event = FlowsSeen | Sighting | Trouble | Balanced


def _fold(proposed: ProposedFold) -> dict[str, Any]:
    """The fold with its manifest, what it would cut, and who said no."""
    plan = proposed.plan
    against = [verdict.as_dict() for verdict in proposed.verdicts if verdict.allow is not True]
    return {
        "kind": proposed.fold.kind.value,
        "fold": proposed.fold.as_dict(),
        "plan_id": plan.id,
        "mode": plan.mode.value,
        "blast_radius": plan.blast_radius.as_dict(),
        "allowed": proposed.allowed,
        "against": against,
    }
