"""Which entity owned an address when: the address book of a recording, and of `loomidi watch --entities`.

Called by the recorder with each change of the Kubernetes watch. In: pods, services, nodes, replica sets, jobs; ranges
of the lab that belong to nobody inside. Out: JSON lines that grow (a row with to_ns 0 is open, a later row of the same
uid and address closes it) and, at the end, the same as a table. Leaves asking `who` to `lookup`.
"""

import dataclasses
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.lookup import UNASSIGNED
from loomidi_lab.recording.sources.watching import Change
from loomidi_lab.recording.streams import ENTITIES
from loomidi_lab.recording.times import nanoseconds

_OVER = frozenset({"Succeeded", "Failed"})


@dataclasses.dataclass(frozen=True, slots=True)
class Owned:
    """One entity's hold on one address (or, for what is outside the cluster, one range)."""

    address: str
    kind: str
    namespace: str
    name: str
    uid: str
    owner_kind: str
    owner: str
    labels: str  # JSON
    node: str
    ports: str  # JSON: [{"name", "port", "protocol"}]
    from_ns: int
    to_ns: int = 0  # 0: still

    def line(self) -> str:
        """As the address book has it: labels and ports as JSON, not as text."""
        row = dataclasses.asdict(self) | {"labels": json.loads(self.labels), "ports": json.loads(self.ports)}
        return json.dumps(row, separators=(",", ":"), sort_keys=True) + "\n"


class Entities:
    """Follows changes; rows go to `book` as they come. Safe from several threads."""

    def __init__(self, book: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Owned] = {}  # (uid, address)
        self._addresses: dict[str, set[str]] = {}  # uid -> those of them that are open
        self._closed: list[Owned] = []
        self._ended: dict[str, int] = {}  # address -> when its last owner let go of it
        self._owners: dict[str, tuple[str, str]] = {}  # uid of a replica set or job -> its own owner
        self._book: IO[str] | None = book.open("w", encoding="utf-8") if book is not None else None

    def add_fixed(self, rows: Iterable[Owned]) -> None:
        """Addresses and ranges that no Kubernetes object tells of."""
        with self._lock:
            for row in rows:
                self._hold(row)

    def changed(self, change: Change, now_ns: int) -> None:
        """Take one change in."""
        with self._lock:
            if change.kind in ("ReplicaSet", "Job"):
                self._owners[str(change.metadata.get("uid", ""))] = _controller(change.metadata)
            elif change.kind in ("Pod", "Service", "Node"):
                self._follow(change, now_ns)

    def table(self) -> pa.Table:
        """Everything so far, by address and time."""
        with self._lock:
            rows = sorted([*self._closed, *self._open.values()], key=lambda row: (row.address, row.from_ns))
        return pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=ENTITIES)

    def close(self) -> None:
        """Close the book's file."""
        with self._lock:
            if self._book is not None:
                self._book.close()
                self._book = None

    def _follow(self, change: Change, now_ns: int) -> None:
        """What the object holds now against what it held."""
        metadata = change.metadata
        uid = str(metadata.get("uid", ""))
        wanted = [] if change.change == "DELETED" else _addresses(change)
        for address in sorted(self._addresses.get(uid, ())):
            if address not in wanted:
                self._release((uid, address), now_ns)
        for address in wanted:
            if (uid, address) not in self._open:
                self._hold(self._described(change, address, now_ns))

    def _described(self, change: Change, address: str, now_ns: int) -> Owned:
        metadata = change.metadata
        owner_kind, owner = self._top_owner(metadata)
        return Owned(
            address=address,
            kind=change.kind,
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            owner_kind=owner_kind,
            owner=owner,
            labels=json.dumps(metadata.get("labels") or {}, separators=(",", ":"), sort_keys=True),
            node=str((change.object.get("spec") or {}).get("nodeName", "")) if change.kind == "Pod" else "",
            ports=json.dumps(_ports(change), separators=(",", ":"), sort_keys=True),
            from_ns=max(self._ended.get(address, 0) + 1, _begins(change, now_ns)),
        )

    def _top_owner(self, metadata: dict[str, Any]) -> tuple[str, str]:
        """The Deployment behind the replica set, the CronJob behind the job; else the controller itself."""
        for reference in metadata.get("ownerReferences") or []:
            above = self._owners.get(str(reference.get("uid", "")), ("", ""))
            if reference.get("controller") and above[1]:
                return above
        return _controller(metadata)

    def _hold(self, row: Owned) -> None:
        self._open[(row.uid, row.address)] = row
        self._addresses.setdefault(row.uid, set()).add(row.address)
        self._say(row)

    def _release(self, key: tuple[str, str], now_ns: int) -> None:
        row = dataclasses.replace(self._open.pop(key), to_ns=now_ns)
        self._addresses[row.uid].discard(row.address)
        if not self._addresses[row.uid]:
            del self._addresses[row.uid]
        self._closed.append(row)
        self._ended[row.address] = now_ns
        self._say(row)

    def _say(self, row: Owned) -> None:
        # What nobody has is for judging recordings: in the book it would hide a pod whose row is a moment late.
        if self._book is not None and row.kind != UNASSIGNED:
            self._book.write(row.line())
            self._book.flush()


def _controller(metadata: dict[str, Any]) -> tuple[str, str]:
    for reference in metadata.get("ownerReferences") or []:
        if reference.get("controller"):
            return str(reference.get("kind", "")), str(reference.get("name", ""))
    return "", ""


def _addresses(change: Change) -> list[str]:
    """Addresses that are the object's own: a pod on the host's network has none, nor one that is over."""
    spec, status = change.object.get("spec") or {}, change.object.get("status") or {}
    if change.kind == "Node":
        return [str(a["address"]) for a in status.get("addresses") or [] if a.get("type") == "InternalIP"]
    if change.kind == "Service":
        return [str(a) for a in spec.get("clusterIPs") or [] if a not in ("", "None")]
    if spec.get("hostNetwork") or status.get("phase") in _OVER:
        return []
    return [str(a["ip"]) for a in status.get("podIPs") or [] if a.get("ip")]


def _ports(change: Change) -> list[dict[str, Any]]:
    spec = change.object.get("spec") or {}
    if change.kind == "Service":
        return [_port(port, "port") for port in spec.get("ports") or []]
    if change.kind == "Pod":
        return [_port(p, "containerPort") for c in spec.get("containers") or [] for p in c.get("ports") or []]
    return []


def _port(port: dict[str, Any], key: str) -> dict[str, Any]:
    return {"name": port.get("name", ""), "port": port.get(key, 0), "protocol": port.get("protocol", "TCP")}


def _begins(change: Change, now_ns: int) -> int:
    """The API tells of an address up to a second after its first packet, so it counts from the object's start on.

    Whoever held the address before ends that earlier, see `_described`.
    """
    status, metadata = change.object.get("status") or {}, change.metadata
    text = (status.get("startTime") if change.kind == "Pod" else None) or metadata.get("creationTimestamp") or ""
    try:
        return min(nanoseconds(str(text)), now_ns)
    except InputError:
        return now_ns
