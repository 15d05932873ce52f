"""Who owns which address from when to when, as the objects of the Kubernetes API tell it.

Called by `kubernetes`. In: lists and changes of pods, services, endpoint slices, nodes, replica sets and jobs, each
with the time at which it was told. Out: rows of `ENTITIES`; a later row of one uid and address replaces the earlier
one. Pure. What the API cannot say exactly is decided here, once:

- A pod has its address from its `startTime` on (the API tells of it up to a second after its first packets), but not
  before the last owner's containers had finished, or it was last known to be there. That ends the last owner's time.
- It has it until it is over (its last container's end) or its deletion is told. A list after a gap ends what vanished.
- Services that select a pod are told by their endpoint slices. A pod that is being deleted keeps those it had: a flow
  of its last second is still its service's.
- Pods of the host's network have their node's address together with it. The first address of a node's pod range is the
  node's (its bridge) until a pod turns out to have it.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

import pyarrow as pa

from loomidi.contracts.schemas import ENTITIES
from loomidi.loom.sources import rows
from loomidi.loom.sources.objects import Object, addresses_of, controller, finished_ns, is_over, ports_of, started_ns

_OWNERS = ("ReplicaSet", "Job")  # between a pod and the workload that people know
_ADDRESSED = ("Pod", "Service", "Node")


@dataclasses.dataclass(slots=True)
class _Thing:
    """One object that has addresses."""

    kind: str
    namespace: str
    name: str
    uid: str
    node: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    ports: str = "[]"
    controller: tuple[str, str, str] = ("", "", "")  # uid, kind, name
    ending: bool = False  # it is being deleted, or over
    shared: bool = False  # its addresses are its node's
    freed_ns: int = 0  # its last container had ended; 0: not told
    kept: frozenset[str] = frozenset()  # services that it had when it was last not ending
    open: dict[str, int] = dataclasses.field(default_factory=dict)  # address -> from


@dataclasses.dataclass(frozen=True, slots=True)
class _Past:
    """The last owner of an address."""

    row: Object
    freed_ns: int  # it cannot have used the address after this; 0: nobody knows


class Ownership:
    """Follows objects; `take` gives the rows that are new. Not thread-safe."""

    def __init__(self, cluster: str = "") -> None:
        self.cluster = cluster
        self._things: dict[str, _Thing] = {}  # uid
        self._holders: dict[tuple[str, str], str] = {}  # kind, address -> uid; one of a kind has it at a time
        self._past: dict[tuple[str, str], _Past] = {}  # kind, address -> who had it last
        self._bridges: dict[str, str] = {}  # address -> uid of the node whose bridge it is taken for
        self._above: dict[str, tuple[str, str]] = {}  # uid of a replica set or job -> kind and name of its own owner
        self._slices: dict[str, tuple[str, frozenset[str]]] = {}  # uid -> service, uids of its pods
        self._selecting: dict[str, set[str]] = {}  # pod uid -> uids of slices
        self._told: dict[tuple[str, str], Object] = {}  # (uid, address) -> row as it was last told, while open
        self._rows: list[Object] = []

    @property
    def open_rows(self) -> int:
        """Addresses that somebody has now."""
        return len(self._told)

    def take(self) -> pa.RecordBatch | None:
        """Rows since the last call; None when there are none."""
        taken, self._rows = self._rows, []
        return pa.RecordBatch.from_pylist(taken, schema=ENTITIES) if taken else None

    def tell_again(self, before_ns: int, now_ns: int) -> int:
        """Open rows that were told last before that moment, so that who reads a while back knows all of them."""
        old = [place for place, row in self._told.items() if row["seen"] < before_ns]
        for place in old:
            self._told[place] = self._told[place] | {"seen": now_ns}
            self._rows.append(self._told[place])
        return len(old)

    # -- what the API says -------------------------------------------------------------------------------------------

    def changed(self, kind: str, change: str, item: Object, now_ns: int) -> None:
        """One change: ADDED, MODIFIED, DELETED."""
        uid = str(rows.inner(item, "metadata", "uid") or "")
        gone = change == "DELETED"
        if kind in _OWNERS:
            self._own(uid, item)
        elif kind == "EndpointSlice":
            self._select(uid, None if gone else item, now_ns)
        elif kind in _ADDRESSED and gone:
            self._leave(uid, now_ns, finished_ns(item))
        elif kind in _ADDRESSED:
            self._follow(kind, uid, item, now_ns)

    def listed(self, kind: str, items: list[Object], now_ns: int, heard_ns: int = 0) -> None:
        """All objects of a kind. What is not among them has gone since `heard_ns`, when there was news last."""
        there = {str(rows.inner(item, "metadata", "uid") or "") for item in items}
        for uid in [uid for uid, thing in self._things.items() if thing.kind == kind and uid not in there]:
            self._leave(uid, now_ns, heard_ns)
        if kind == "EndpointSlice":
            for uid in [uid for uid in self._slices if uid not in there]:
                self._select(uid, None, now_ns)
        for item in items:
            self.changed(kind, "ADDED", item, now_ns)

    # -- what is kept over a restart ---------------------------------------------------------------------------------

    def held(self) -> list[Object]:
        """Open rows, for `restore`."""
        return list(self._told.values())

    def restore(self, held: Iterable[Object]) -> int:
        """Rows that a former run had open: the first list ends what is not there any more. How many were taken."""
        count = 0
        for row in held:
            about = {name: row[name] for name in ("kind", "namespace", "name", "uid", "node")}
            thing = self._things.setdefault(row["uid"], _Thing(**about, kept=frozenset(row["services"] or ())))
            thing.open[row["address"]] = row["from"]
            self._told[row["uid"], row["address"]] = row
            self._holders.setdefault((row["kind"], row["address"]), row["uid"])
            count += 1
        return count

    # -- owners and services -----------------------------------------------------------------------------------------

    def _own(self, uid: str, item: Object) -> None:
        _, kind, name = controller(item)
        if self._above.get(uid, ("", "")) == (kind, name):
            return
        self._above[uid] = (kind, name)
        for thing in [thing for thing in self._things.values() if thing.controller[0] == uid]:
            self._tell_again(thing, 0)

    def _select(self, uid: str, item: Object | None, now_ns: int) -> None:
        service, pods = ("", frozenset[str]()) if item is None else _targets(item)
        before = self._slices.pop(uid, ("", frozenset()))[1]
        if item is not None and service:
            self._slices[uid] = (service, pods)
        for pod in before | pods:
            chosen = self._selecting.setdefault(pod, set())
            (chosen.add if service and pod in pods else chosen.discard)(uid)
            if not chosen:
                del self._selecting[pod]
            if pod in self._things:
                self._tell_again(self._things[pod], now_ns)

    def _services(self, thing: _Thing) -> list[str]:
        if thing.kind == "Service":
            return [f"service/{thing.namespace or 'default'}/{thing.name}"]
        now = frozenset(self._slices[one][0] for one in self._selecting.get(thing.uid, ()))
        thing.kept = thing.kept | now if thing.ending else now
        return sorted(thing.kept)

    # -- addresses ---------------------------------------------------------------------------------------------------

    def _follow(self, kind: str, uid: str, item: Object, now_ns: int) -> None:
        about, spec = item.get("metadata") or {}, item.get("spec") or {}
        thing = self._things.get(uid)
        if thing is None:
            thing = self._things[uid] = _Thing(kind, "", "", uid)
        thing.namespace, thing.name = str(about.get("namespace") or ""), str(about.get("name") or "")
        thing.labels = {str(key): str(value) for key, value in (about.get("labels") or {}).items()}
        thing.node = str(spec.get("nodeName") or "") if kind == "Pod" else ""
        thing.ports, thing.controller = rows.compact(ports_of(kind, item)), controller(item)
        over = kind == "Pod" and is_over(item)
        thing.ending = over or bool(about.get("deletionTimestamp"))
        thing.shared = kind == "Pod" and bool(spec.get("hostNetwork"))
        thing.freed_ns = finished_ns(item) if kind == "Pod" else 0
        wanted = [] if over else addresses_of(kind, item)
        if kind == "Node":
            wanted += self._bridges_of(thing, spec, wanted)
        for address in [address for address in thing.open if address not in wanted]:
            self._close(thing, address, min(thing.freed_ns or now_ns, now_ns), now_ns)
        for address in wanted:
            if address not in thing.open:
                self._open(thing, address, min(started_ns(kind, item) or now_ns, now_ns), now_ns)
        self._tell_again(thing, now_ns)

    def _bridges_of(self, thing: _Thing, spec: Object, own: list[str]) -> list[str]:
        """The node's addresses within its pods' ranges, from which its kubelet probes them."""
        found = [one for one in _firsts(spec) if one not in own and not self._is_pods(one)]
        self._bridges |= dict.fromkeys(found, thing.uid)
        return found

    def _is_pods(self, address: str) -> bool:
        """Whether a pod has it, or has had it."""
        return ("Pod", address) in self._holders or ("Pod", address) in self._past

    def _open(self, thing: _Thing, address: str, start_ns: int, now_ns: int) -> None:
        begin, place = start_ns, (thing.kind, address)
        if not thing.shared:
            self._oust(thing, address, now_ns)
            past = self._past.pop(place, None)
            if past is not None:
                begin = max(begin, min(past.freed_ns or past.row["to"], now_ns))
                if past.row["to"] > begin:
                    self._rows.append(past.row | {"to": max(begin, past.row["from"]), "seen": now_ns})
            self._holders[place] = thing.uid
        if thing.kind == "Pod" and not thing.shared and address in self._bridges:
            self._no_bridge(address, begin, now_ns)
        thing.open[address] = begin
        self._tell(thing, address, now_ns)

    def _no_bridge(self, address: str, begin_ns: int, now_ns: int) -> None:
        node = self._things.get(self._bridges.pop(address))
        if node is not None and address in node.open:
            self._close(node, address, begin_ns, now_ns)

    def _oust(self, thing: _Thing, address: str, now_ns: int) -> None:
        """Whoever still seems to have it has let go: the news of that comes by another watch, or later."""
        holder = self._things.get(self._holders.get((thing.kind, address), ""))
        if holder is not None and holder is not thing:
            self._close(holder, address, now_ns, now_ns)

    def _close(self, thing: _Thing, address: str, end_ns: int, now_ns: int, freed_ns: int = 0) -> None:
        thing.open.pop(address, None)
        row = self._told.pop((thing.uid, address), None)
        if row is None:
            return
        ended = row | {"to": max(end_ns, row["from"]), "seen": now_ns}
        self._rows.append(ended)
        place = (thing.kind, address)
        if self._holders.get(place) == thing.uid:
            del self._holders[place]
            self._past[place] = _Past(ended, freed_ns or thing.freed_ns)

    def _leave(self, uid: str, now_ns: int, freed_ns: int) -> None:
        thing = self._things.pop(uid, None)
        if thing is not None:
            for address in list(thing.open):
                self._close(thing, address, now_ns, now_ns, freed_ns)

    def _tell_again(self, thing: _Thing, now_ns: int) -> None:
        for address in thing.open:
            self._tell(thing, address, now_ns)

    def _tell(self, thing: _Thing, address: str, now_ns: int) -> None:
        """Its row, if it is another than was told last."""
        before = self._told.get((thing.uid, address))
        row = self._row(thing, address)
        if before is not None and row | {"seen": before["seen"]} == before:
            return
        row["seen"] = now_ns or (before["seen"] if before else 0)
        self._told[thing.uid, address] = row
        self._rows.append(row)

    def _row(self, thing: _Thing, address: str) -> Object:
        above, kind, name = thing.controller
        owner_kind, owner = self._above.get(above, ("", ""))
        return {
            "address": address,
            "kind": thing.kind,
            "namespace": thing.namespace,
            "name": thing.name,
            "uid": thing.uid,
            "owner_kind": owner_kind or kind,
            "owner": owner or name,
            "node": thing.node,
            "labels": sorted(thing.labels.items()),
            "services": self._services(thing),
            "ports": thing.ports,
            "from": thing.open[address],
            "to": None,
            "seen": 0,
            "cluster": self.cluster,
        }


def _targets(item: Object) -> tuple[str, frozenset[str]]:
    """The service of an endpoint slice, and the uids of the pods behind it, ready or not."""
    about = item.get("metadata") or {}
    name = (about.get("labels") or {}).get("kubernetes.io/service-name")
    references = (rows.inner(one, "targetRef") or {} for one in item.get("endpoints") or [])
    pods = frozenset(str(one["uid"]) for one in references if one.get("kind") == "Pod" and one.get("uid"))
    return (f"service/{about.get('namespace') or 'default'}/{name}" if name else ""), pods


def _firsts(spec: Object) -> Iterator[str]:
    for text in spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []):
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if network.num_addresses > 2:
            yield str(network.network_address + 1)
