"""Findings with the names of their entities instead of addresses, as far as an address book knows them.

Called by `watching`. In: a finding as the detectors give it, a book. Out: `Named`: the finding with ids such as
`pod/shop/cart-7d9-x2k` and `service/shop/cart:80/tcp`, and where each of them is. An external keeps its address as id,
because many share one name; it is told beside it. What a fold makes of a place is left to `ionic.decide`.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from loomidi.contracts.records import Finding
from loomidi.contracts.schemas import FLOWS
from loomidi.garden.graph.naming import AddressBook, Row
from loomidi.ionic.decide.places import NAMES, Place, place
from loomidi.loom.flows.columns import plain

NAMED_FLOWS = FLOWS.append(pa.field("source_entity", pa.utf8())).append(pa.field("destination_entity", pa.utf8()))
"""Flows with the ids of their two ends, such as `pod/shop/cart-0`."""

_RENAMED = frozenset({"Pod", "Service", "Node"})


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A finding whose entities have names."""

    finding: Finding
    places: Mapping[str, Place]  # new id -> address, namespace, labels
    rows: Mapping[str, Row]  # new id -> what the book says of it

    def where(self, entity: str) -> Place:
        """As `ionic.decide.places.Where`."""
        return self.places.get(entity) or place(entity)

    def called(self, entity: str) -> str:
        """For people: `pod/shop/cart-0 (10.244.1.7)`, `203.0.113.9 (external/users)`, or the address."""
        found, row = self.where(entity), self.rows.get(entity)
        if row is None:
            return entity.partition("/")[2] or entity
        name = entity if row.kind in _RENAMED else row.entity
        if row.kind not in _RENAMED:
            return f"{found.address}{_port(found)} ({name})"
        return f"{name} ({found.address})"

    def as_dicts(self) -> list[dict[str, Any]]:
        """The entities in order, for programs."""
        return [self._entity(entity) for entity in self.finding.entities]

    def _entity(self, entity: str) -> dict[str, Any]:
        found, row = self.where(entity), self.rows.get(entity)
        told: dict[str, Any] = {"id": entity, "address": found.address}
        if found.port:
            told |= {"port": found.port, "protocol": NAMES.get(found.protocol, str(found.protocol))}
        if row is not None:
            told |= {name: getattr(row, name) for name in ("kind", "namespace", "name", "owner_kind", "owner", "node")}
        return told


def named(finding: Finding, book: AddressBook) -> Named:
    """Ask the book for every address of the finding, as of its end."""
    places: dict[str, Place] = {}
    rows: dict[str, Row] = {}
    for entity in finding.entities:
        found = place(entity)
        row = book.at(found.address, finding.last_ns) if found.address and "/" not in found.address else None
        new = entity if row is None or row.kind not in _RENAMED else row.entity + _port(found)
        if row is not None:
            rows[new] = row
            places[new] = _placed(row, found)
        else:
            places[new] = found
    return Named(dataclasses.replace(finding, entities=tuple(places)), places, rows)


def name_of(address: str, ns: int, book: AddressBook) -> str:
    """The entity at an address, or '' when nobody is known there."""
    row = book.at(address, ns) if "/" not in address else None
    return row.entity if row is not None else ""


def endpoints(entities: Iterable[str], ns: int, book: AddressBook) -> dict[str, str]:
    """Entity id of the graph -> name with port, for those that the book knows."""
    found = {entity: place(entity) for entity in entities}
    names = {entity: name_of(there.address, ns, book) for entity, there in found.items() if there.address}
    return {entity: name + _port(found[entity]) for entity, name in names.items() if name}


def with_names(batch: pa.RecordBatch, book: AddressBook) -> pa.RecordBatch:
    """The flows with two more columns, schema `NAMED_FLOWS`; null where the book knows nobody."""
    ends = plain(batch.column("flow_end_nanoseconds")).tolist()
    columns = []
    for side in ("source_ip_address", "destination_ip_address"):
        rows = zip(batch.column(side).to_pylist(), ends, strict=True)
        columns.append(pa.array([name_of(address, ns, book) or None for address, ns in rows], pa.utf8()))
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=NAMED_FLOWS)


def _placed(row: Row, found: Place) -> Place:
    if row.kind not in _RENAMED:
        return found
    return Place(
        row.kind.lower(),
        found.address,
        found.port,
        found.protocol,
        namespace=row.namespace or "default",
        name=row.name,
        labels=tuple(sorted(row.labels.items())) if row.kind == "Pod" else (),
        owner=row.owner,
        uid=row.uid,
    )


def _port(found: Place) -> str:
    if not found.port:
        return ""
    return f":{found.port}/{NAMES.get(found.protocol, str(found.protocol))}" if found.protocol else f":{found.port}"
