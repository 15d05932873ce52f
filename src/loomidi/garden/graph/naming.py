"""Which entity an address belonged to at a moment: pods, services, nodes, externals, from a file or the bus.

Called by `services.watching`, `labelling` and readers of recordings. In: batches of `ENTITIES`, or JSON lines
{"address", "kind", "namespace", "name", "uid", "owner_kind", "owner", "labels", "node", "ports", "services", "from_ns",
"to_ns"}; to_ns 0 is open, and a later row of the same uid and address replaces the earlier one. Out: `Row`, by address
and time in O(log n). Rows that cannot be used are counted and the first of them told. Leaves writing to others.
"""

import bisect
import dataclasses
import functools
import ipaddress
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_TOLD = 20  # unusable rows that are told; all are counted
_CHUNK = 1 << 20  # octets read at once
_LAST_NS = (1 << 63) - 1
# Several entities may have one address: pods of the host's network have their node's. The first of these is told.
_RANKS = {"Service": 0, "Node": 1, "Pod": 2}
_NAMESPACED = frozenset({"Pod", "Service"})


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One entity at one address for a time."""

    address: str  # an address or, for externals, a CIDR
    kind: str  # Pod, Service, Node, External
    namespace: str  # "" for what has none
    name: str
    uid: str = ""
    owner_kind: str = ""  # Deployment, StatefulSet, DaemonSet, Job, ...: the workload that a pod is of
    owner: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    node: str = ""
    ports: tuple[Any, ...] = ()  # as the API tells them
    from_ns: int = 0  # epoch
    to_ns: int = 0  # exclusive; 0: open
    services: tuple[str, ...] = ()  # "service/shop/cart" that select it

    @property
    def entity(self) -> str:
        """Its id: `pod/shop/cart-7d9-x2k`, `service/shop/cart`, `node/n1`, `external/users`."""
        kind = self.kind.lower()
        return (
            f"{kind}/{self.namespace or 'default'}/{self.name}" if self.kind in _NAMESPACED else f"{kind}/{self.name}"
        )

    @property
    def service(self) -> str:
        """The service that it is, or the first by name of those that select it; "" for none."""
        return self.entity if self.kind == "Service" else min(self.services, default="")

    @property
    def workload(self) -> str:
        """`deployment/shop/cart`; "" for what no controller owns."""
        return f"{self.owner_kind.lower()}/{self.namespace or 'default'}/{self.owner}" if self.owner else ""

    @property
    def until_ns(self) -> int:
        """As `to_ns`, the end of time for an open one."""
        return self.to_ns or _LAST_NS

    def as_dict(self) -> dict[str, Any]:
        """As a row of the file."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if not self.services:  # as files were before there were any
            del fields["services"]
        return fields | {"labels": dict(self.labels), "ports": list(self.ports)}


class AddressBook:
    """Rows by address and time. Not thread-safe."""

    def __init__(self, path: str | os.PathLike[str] | None = None, *, slack_s: float = 0.0) -> None:
        """`path`: a file to follow, which may not be there yet. `slack_s`: how far a time may miss a row's and still
        be its, when no row has it exactly: a watch hears of a pod a moment after its first packet.
        """
        self._file = _Growing(Path(path)) if path is not None else None
        self._slack_ns = round(slack_s * 1e9)
        self._held: dict[str, dict[int, _Times]] = {}  # address -> rank -> rows in order of time
        self._networks: dict[tuple[int, int], set[str]] = {}  # version, prefix length -> CIDRs
        self._rows = 0
        self._changed: set[str] = set()
        self.seen_ns = 0  # when the newest row was told to its watch; 0: none says
        self.bad = 0  # rows that could not be used
        self.problems: list[str] = []  # the first 20 of them, one line each

    def __len__(self) -> int:
        """Rows held, each uid and address once."""
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        """All rows, by address, then in order of time."""
        for address in sorted(self._held):
            for rank in sorted(self._held[address]):
                yield from self._held[address][rank].rows

    def refresh(self) -> int:
        """Read what was added to the file; how many rows that were. Raises InputError when it cannot be read."""
        if self._file is None:
            return 0
        return sum(self.add_line(line, f"{self._file.path}:{number}") for number, line in self._file.lines())

    def learn(self, batch: "pa.RecordBatch") -> int:
        """Take in a batch of the schema `ENTITIES`; how many of its rows could be used."""
        used = 0
        for number, data in enumerate(_plain(batch)):
            used += self._use(lambda data=data: data, f"entity {number}")  # type: ignore[misc]
            self.seen_ns = max(self.seen_ns, data["seen"])
        return used

    def add_line(self, line: str, where: str = "row") -> bool:
        """One line of such a file; False when it cannot be used, which is counted."""
        return self._use(lambda: json.loads(line), where)

    def _use(self, read: Callable[[], Any], where: str) -> bool:
        try:
            self.add(row_of(read()))
        except (ValueError, TypeError, KeyError) as error:
            self.bad += 1
            if len(self.problems) < _MOST_TOLD:
                self.problems.append(f"{where}: not a usable row ({error}); it is left out")
            return False
        return True

    def add(self, row: Row) -> None:
        """Take in a row; it replaces that of the same uid and address (or kind and name, without a uid)."""
        times = self._held.setdefault(row.address, {}).setdefault(_RANKS.get(row.kind, len(_RANKS)), _Times())
        self._rows += times.put(row)
        self._changed.add(row.address)
        if "/" in row.address:
            network = ipaddress.ip_network(row.address)
            self._networks.setdefault((network.version, network.prefixlen), set()).add(row.address)

    def changes(self) -> set[str]:
        """Addresses and CIDRs whose rows are others than when this was last asked. For one asker."""
        found, self._changed = self._changed, set()
        return found

    def moments(self, address: str) -> list[int]:
        """Sorted times between which `at` gives the same answer; empty when nobody is known there at all."""
        found = {
            moment + slack
            for held in self._holding(_written(address))
            for times in self._held[held].values()
            for row in times.rows
            for moment in (row.from_ns, row.until_ns)
            for slack in (-self._slack_ns, 0, self._slack_ns)
        }
        return sorted({max(moment, 0) for moment in found if moment < _LAST_NS})

    def forget(self, before_ns: int) -> int:
        """Let go of rows that ended before; how many that were. Open ones stay."""
        gone = 0
        for address in list(self._held):
            ranks = self._held[address]
            before = gone
            for rank in list(ranks):
                gone += ranks[rank].forget(before_ns)
                if not ranks[rank].rows:
                    del ranks[rank]
            if gone != before:
                self._changed.add(address)
            if not ranks:
                self._drop(address)
        self._rows -= gone
        return gone

    def _drop(self, address: str) -> None:
        del self._held[address]
        if "/" in address:
            network = ipaddress.ip_network(address)
            self._networks[network.version, network.prefixlen].discard(address)

    def at(self, address: str, ns: int | None = None) -> Row | None:
        """Who had the address at that time (epoch), or has it last when no time is given; None when nobody is known."""
        moment = _LAST_NS - 1 if ns is None else ns
        address = _written(address)
        for slack_ns in dict.fromkeys((0, self._slack_ns)):
            for held in self._holding(address):
                found = self._of(held, moment, slack_ns)
                if found is not None:
                    return found
        return None

    def _holding(self, address: str) -> Iterator[str]:
        """The address itself, then the networks that hold it, the narrowest first."""
        if address in self._held:
            yield address
        if not self._networks:
            return
        for version, length in sorted(self._networks, reverse=True):
            network = _network_of(address, version, length)
            if network in self._networks[version, length]:
                yield network

    def _of(self, held: str, moment: int, slack_ns: int) -> Row | None:
        for rank in sorted(self._held[held]):
            found = self._held[held][rank].at(moment, slack_ns)
            if found is not None:
                return found
        return None


class _Times:
    """Rows of one address and rank, by start; they rarely overlap."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._starts: list[int] = []
        self._latest: list[int] = []  # the latest end of this row and those before it
        self._by_id: dict[tuple[str, ...], Row] = {}

    def put(self, row: Row) -> int:
        """1 for a new row, 0 when it replaced one."""
        identity = (row.uid,) if row.uid else (row.kind, row.namespace, row.name)
        known = self._by_id.get(identity)
        if known is not None and not row.uid and known.to_ns and row.from_ns >= known.to_ns:
            known = None  # without a uid, the same name later is another time of it
        if known is not None:
            at = self.rows.index(known, bisect.bisect_left(self._starts, known.from_ns))
            del self.rows[at], self._starts[at]
            row = row if row.from_ns else dataclasses.replace(row, from_ns=known.from_ns)
        self._by_id[identity] = row
        at = bisect.bisect_right(self._starts, row.from_ns)
        self.rows.insert(at, row)
        self._starts.insert(at, row.from_ns)
        self._note_ends(at if known is None else 0)
        return int(known is None)

    def forget(self, before_ns: int) -> int:
        """Leave out what ended before; how many that were."""
        kept = [row for row in self.rows if row.until_ns > before_ns]
        gone = len(self.rows) - len(kept)
        if gone:
            ids = {id(row) for row in kept}
            self._by_id = {key: row for key, row in self._by_id.items() if id(row) in ids}
            self.rows, self._starts = kept, [row.from_ns for row in kept]
            self._note_ends(0)
        return gone

    def _note_ends(self, begin: int) -> None:
        del self._latest[begin:]
        for row in self.rows[begin:]:
            before = self._latest[-1] if self._latest else 0
            self._latest.append(max(before, row.until_ns))

    def at(self, moment: int, slack_ns: int) -> Row | None:
        """The row that began last of those that hold the moment, widened by the slack."""
        at = bisect.bisect_right(self._starts, moment + slack_ns) - 1
        while at >= 0 and self._latest[at] > moment - slack_ns:
            if self.rows[at].until_ns > moment - slack_ns:
                return self.rows[at]
            at -= 1
        return None


class _Growing:
    """The complete lines that were added to a file since they were last asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode, self._offset, self._line, self._rest = -1, 0, 0, b""

    def lines(self) -> Iterator[tuple[int, str]]:
        """Line number and text. A file that shrank or is another one is read from its start."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset, self._line, self._rest = found.st_ino, 0, 0, b""
                file.seek(self._offset)
                while chunk := file.read(_CHUNK):
                    self._offset += len(chunk)
                    yield from self._split(chunk)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; name a file of entities (JSON lines)") from error

    def _split(self, chunk: bytes) -> Iterator[tuple[int, str]]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._line += 1
            if line.strip():
                yield self._line, line.decode("utf-8", "replace")


def row_of(data: Any) -> Row:
    """A decoded line as a row. Raises ValueError, TypeError or KeyError for what is none."""
    if not isinstance(data, Mapping):
        raise TypeError("no JSON object")
    names = ("kind", "namespace", "name", "uid", "owner_kind", "owner", "node")
    texts = [data.get(name) or "" for name in names]
    if not all(isinstance(text, str) for text in texts) or not texts[0] or not texts[2]:
        raise ValueError("kind and name must be texts that are not empty")
    services = tuple(data.get("services") or ())
    if not all(isinstance(service, str) for service in services):
        raise TypeError("services must be texts")
    times = {name: int(data.get(name) or 0) for name in ("from_ns", "to_ns")}
    if times["from_ns"] < 0 or (times["to_ns"] and times["to_ns"] < times["from_ns"]):
        raise ValueError(f"from_ns {times['from_ns']}, to_ns {times['to_ns']}: it ends before it begins")
    kind, namespace, name, uid, owner_kind, owner, node = texts
    return Row(
        address=_shortest(str(data["address"])),
        kind=kind,
        namespace=namespace,
        name=name,
        uid=uid,
        owner_kind=owner_kind,
        owner=owner,
        labels=MappingProxyType({str(key): str(text) for key, text in dict(data.get("labels") or {}).items()}),
        node=node,
        ports=tuple(data.get("ports") or ()),
        services=services,
        **times,
    )


def _plain(batch: "pa.RecordBatch") -> Iterator[dict[str, Any]]:
    """Rows of `ENTITIES` as those of a file."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in ("from", "to", "seen"):
        columns[name] = columns[name].cast("int64")
    for values in zip(*(column.to_pylist() for column in columns.values()), strict=True):
        row = dict(zip(columns, values, strict=True))
        ports = json.loads(row["ports"]) if row["ports"] else []
        yield row | {"labels": dict(row["labels"] or ()), "ports": ports, "from_ns": row["from"], "to_ns": row["to"]}


def _shortest(address: str) -> str:
    """An address, or a CIDR; one of full length is an address. Raises ValueError for neither."""
    network = ipaddress.ip_network(address, strict=False)
    return str(network if network.prefixlen < network.max_prefixlen else network.network_address)


@functools.lru_cache(65536)
def _written(address: str) -> str:
    """In the shortest form, as rows hold it."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


@functools.lru_cache(65536)
def _network_of(address: str, version: int, length: int) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((parsed, length), strict=False)) if parsed.version == version else ""
