"""Where the pods of a cluster are and which release they are of: the hosts and rollouts that may explain a trouble.

Called by `observing` and `services.anomalies.reasoning`. In: batches of ENTITIES. Out: PLACES, signals of changes, and
the end by which `features` knows an entity of a finding. Memory is bounded: what ended longest ago makes room, and is
counted.
"""

import collections
import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.origami.causes.observations import PLACES, SIGNALS, Role, Window

_REVISIONS = ("pod-template-hash", "controller-revision-hash")  # of Deployments; of StatefulSets and DaemonSets
_OPEN = 2**63 - 1
_RECENT_NS = 900 * 10**9  # a release that began longer before an incident does not explain it
_PREFIX = {4: 24, 6: 64}  # of the network by which features know a stranger
MOST = 50_000


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """One pod at one address."""

    name: str  # pod/shop/cart-0
    workload: str  # deployment/shop/cart; the pod itself where nobody owns it
    node: str
    revision: str  # "" where its owner has none
    services: tuple[str, ...]
    from_ns: int
    to_ns: int


class Placements:
    """Pods by name and address, with their times."""

    def __init__(self, most: int = MOST) -> None:
        self.counts = collections.Counter[str]()
        self._most = most
        self._pods: collections.OrderedDict[tuple[str, str], Pod] = collections.OrderedDict()  # uid, address
        self._names, self._addresses = dict[str, Pod](), dict[str, Pod]()

    def learn(self, batch: pa.RecordBatch) -> int:
        """Rows of ENTITIES; how many pods were among them."""
        columns = {name: batch.column(name) for name in _COLUMNS}
        columns |= {name: columns[name].cast(pa.int64()) for name in ("from", "to")}
        plain = {name: column.to_pylist() for name, column in columns.items()}
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        pods = [row for row in rows if row["kind"] == "Pod"]
        for row in pods:
            self._put((row["uid"] or row["name"], row["address"]), _pod(row))
        return len(pods)

    def node(self, pod: str) -> str:
        """`node/n1` of `pod/shop/cart-0`; "" when it is not known."""
        known = self._names.get(pod)
        return f"node/{known.node}" if known is not None and known.node else ""

    def end(self, entity: str) -> str:
        """The end by which windows know an entity of a finding: its workload, else its network, else itself."""
        kind, _, rest = entity.partition("/")
        if kind == "pod":
            return self._names[entity].workload if entity in self._names else entity
        if kind == "workload":
            named = (pod.workload for pod in self._pods.values() if pod.workload.partition("/")[2] == rest)
            return next(named, entity)
        if kind == "service":
            plain = entity.rpartition(":")[0] or entity
            of = next((pod.workload for pod in self._pods.values() if plain in pod.services), "")
            return of or self._addressed(plain.partition("/")[2].strip("[]"), plain)
        return self._addressed(rest, entity) if kind in ("host", "external", "network") else entity

    def places(self, ends: Sequence[str], window: Window) -> pa.Table:
        """Which nodes and which fresh releases these workloads rest on within the window."""
        wanted, found = {*ends}, set[tuple[str, str]]()
        for pod in self._alive(window):
            if pod.workload in wanted and pod.node:
                found.add((pod.workload, f"node/{pod.node}"))
        found |= {(workload, rollout) for workload, rollout, _ in self._fresh(wanted, window)}
        columns = [pa.array([row[at] for row in sorted(found)], pa.string()) for at in (0, 1)]
        return pa.table(columns, schema=PLACES)

    def changes(self, ends: Sequence[str], times_ns: npt.NDArray[np.int64], window: Window) -> pa.Table:
        """For each fresh release of these: 0 in the steps before it, 1 since."""
        tables = [SIGNALS.empty_table()]
        width = window.step_ns
        for _, rollout, began in self._fresh({*ends}, window):
            since = (times_ns + width > began).astype(np.float64)
            texts = [pa.array([text] * len(times_ns), pa.string()) for text in (rollout, "", "release", Role.CHANGE)]
            columns = [pa.array(times_ns), *texts, pa.array(since), pa.nulls(len(times_ns), pa.float64())]
            tables.append(pa.table(columns, schema=SIGNALS))
        return pa.concat_tables(tables)

    def _fresh(self, ends: set[str], window: Window) -> Iterator[tuple[str, str, int]]:
        """(workload, rollout, began) of releases whose first pod came shortly before the window's end.

        A workload's first release that is known is none: nothing was there before it that it could have changed.
        """
        began = dict[tuple[str, str], int]()
        for pod in self._pods.values():
            if pod.workload in ends and pod.revision:
                key = pod.workload, pod.revision
                began[key] = min(began.get(key, _OPEN), pod.from_ns)
        first = dict[str, int]()
        for (workload, _), at in began.items():
            first[workload] = min(first.get(workload, _OPEN), at)
        for (workload, revision), at in sorted(began.items()):
            if at > first[workload] and window.start_ns - _RECENT_NS <= at < window.end_ns:
                yield workload, rollout_of(workload, revision), at

    def _alive(self, window: Window) -> Iterable[Pod]:
        return (pod for pod in self._pods.values() if pod.from_ns < window.end_ns and pod.to_ns > window.start_ns)

    def _addressed(self, address: str, entity: str) -> str:
        if address in self._addresses:
            return self._addresses[address].workload
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            return entity
        return str(network.supernet(new_prefix=min(network.prefixlen, _PREFIX[network.version])))

    def _put(self, key: tuple[str, str], pod: Pod) -> None:
        known = self._pods.pop(key, None)
        if known is not None and not pod.from_ns:
            pod = dataclasses.replace(pod, from_ns=known.from_ns)
        self._pods[key] = self._names[pod.name] = self._addresses[key[1]] = pod
        if len(self._pods) > self._most:
            gone = min(self._pods, key=lambda one: self._pods[one].to_ns)
            old = self._pods.pop(gone)
            for index, name in ((self._names, old.name), (self._addresses, gone[1])):
                if index.get(name) is old:
                    del index[name]
            self.counts["forgotten_pods"] += 1


_COLUMNS = (
    "address",
    "kind",
    "namespace",
    "name",
    "uid",
    "owner_kind",
    "owner",
    "node",
    "labels",
    "services",
    "from",
    "to",
)


def rollout_of(workload: str, revision: str) -> str:
    """`rollout/shop/cart@7d9f8`: a release of a workload as an entity."""
    return f"rollout/{workload.partition('/')[2]}@{revision}"


def _pod(row: Mapping[str, Any]) -> Pod:
    space = row["namespace"] or "default"
    labels = dict(row["labels"] or ())
    name = f"pod/{space}/{row['name']}"
    return Pod(
        name=name,
        workload=f"{row['owner_kind'].lower()}/{space}/{row['owner']}" if row["owner"] else name,
        node=row["node"],
        revision=next((labels[label] for label in _REVISIONS if label in labels), ""),
        services=tuple(row["services"] or ()),
        from_ns=row["from"],
        to_ns=_OPEN if row["to"] is None else row["to"],
    )
