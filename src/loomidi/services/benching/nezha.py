"""The Nezha data set (IntelligentDDS/Nezha, MIT) as cases of root cause analysis.

Called by `services.benching`. In: its folder, or the `rca_data` in it, or one day of it. Out: one `Case` per fault:
the service's time, what was observed until three minutes after it, and which service it was. Metrics of pods and of
edges, traces where they are there; logs are not read. The past of a case is what lies before it, that day and in
`construct_data` where that is there; the kind of a fault is carried along for the tables and never given to a method.
"""

import datetime as dt
import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from loomidi.contracts import InputError
from loomidi.origami.causes import CALLS, SIGNALS, SPANS, Observed, Role, SpanSums, Window
from loomidi.services.benching.cases import Case

STEP_NS = 60_000_000_000
WINDOW_NS = 3 * STEP_NS  # how long each fault lasts
_POD = re.compile(r"^(?P<name>.+?)-(?:[0-9a-f]{5,10}-[0-9a-z]{5}|\d+)$")
_ROLES = {
    "CpuUsage(m)": Role.RESOURCE,
    "MemoryUsage(Mi)": Role.RESOURCE,
    "PodServerLatencyP90(s)": Role.LATENCY,
    "PodServerLatencyP95(s)": Role.LATENCY,
    "PodServerLatencyP99(s)": Role.LATENCY,
    "PodWorkload(Ops)": Role.TRAFFIC,
}


def cases(path: Path) -> Iterator[Case]:
    """Every fault of every day that lies there, in the order of time."""
    days = _days(path)
    for day in days:
        yield from _Day(day).cases()


def service(pod: str) -> str:
    """The workload of a pod, by the names that Kubernetes gives pods of Deployments and StatefulSets."""
    found = _POD.match(pod)
    return found["name"] if found else pod


def _days(path: Path) -> list[Path]:
    for base in (path, path / "rca_data", path / "nezha" / "rca_data"):
        days = sorted(found.parent for found in base.glob("*/*-fault_list.json"))
        if days:
            return days
    if list(path.glob("*-fault_list.json")):
        return [path]
    raise InputError(f"{path}: no Nezha data there; give the folder that holds rca_data/DAY/DAY-fault_list.json")


class _Day:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        lists = sorted(folder.glob("*-fault_list.json"))
        self._faults = _faults(lists[0])
        built = folder.parent.parent / "construct_data" / folder.name
        self._folders = [found for found in (built, folder) if found.is_dir()]
        self._metrics = pa.concat_tables([SIGNALS.empty_table(), *self._all_metrics()])
        self._sums = SpanSums(STEP_NS)
        self._minutes = dict(sorted((minute, file) for found in self._folders for minute, file in self._traces(found)))
        self._summed: set[int] = set()

    def cases(self) -> Iterator[Case]:
        for fault in self._faults:
            start = int(fault["inject_timestamp"]) * 1_000_000_000
            yield Case(
                name=f"{self._folder.name} {fault['inject_time'][-8:]}",
                group=self._folder.name,
                kind=fault["inject_type"],
                truth=service(fault["inject_pod"]),
                window=Window(start, start + WINDOW_NS, STEP_NS),
                observe=functools.partial(self._observed, start),
            )

    def _observed(self, start: int) -> Observed:
        """What is known three minutes after the onset; traces of the past are summed once and kept as sums."""
        for minute, file in self._minutes.items():
            if minute < start + WINDOW_NS and minute not in self._summed:
                self._sums.add(minute, _spans(file))
                self._summed.add(minute)
        until = start + WINDOW_NS
        before = self._metrics.filter(pc.less(self._metrics["time_ns"], until))
        traced = self._sums.signals(start - 24 * 60 * STEP_NS, until)
        return Observed(pa.concat_tables([before, traced]), self._calls())

    def _calls(self) -> pa.Table:
        edges = set()
        for file in sorted(found for folder in self._folders for found in folder.glob("metric/dependency.csv")):
            table = _read_csv(file)
            pairs = zip(table["Source"].to_pylist(), table["Target"].to_pylist(), strict=True)
            edges |= {pair for pair in pairs if not re.match(r"^[\d.]+$", str(pair[1]))}
        return (
            pa.table([pa.array(of, pa.string()) for of in zip(*sorted(edges), strict=True)], schema=CALLS)
            if edges
            else CALLS.empty_table()
        )

    def _all_metrics(self) -> Iterator[pa.Table]:
        for folder in self._folders:
            for file in sorted(folder.glob("metric/*_metric.csv")):
                yield from _pod_metrics(file)
            for side, role in (("source_50", Role.CLIENT), ("destination_50", Role.SERVER)):
                for file in sorted(folder.glob(f"metric/{side}.csv")):
                    yield from _edge_metrics(file, role)

    def _traces(self, folder: Path) -> Iterable[tuple[int, Path]]:
        midnight = dt.datetime.strptime(folder.name, "%Y-%m-%d").replace(tzinfo=dt.UTC)
        for file in sorted(folder.glob("trace/*_trace.csv")):
            hour, minute = file.name.split("_")[:2]
            at = midnight + dt.timedelta(hours=int(hour), minutes=int(minute))
            yield int(at.timestamp()) * 1_000_000_000, file


def _pod_metrics(file: Path) -> Iterator[pa.Table]:
    table = _read_csv(file)
    if not len(table):
        return
    entity = service(str(table["PodName"][0].as_py()))
    for name, role in _ROLES.items():
        if name in table.column_names:
            yield signal(table["TimeStamp"], entity, "", name, role, values=table[name])


def _edge_metrics(file: Path, role: Role) -> Iterator[pa.Table]:
    table = _read_csv(file)
    for name in table.column_names[2:]:
        caller, _, callee = name.partition("_")
        yield signal(table["timestamp"], caller, callee, "median call", role, values=table[name])


def signal(seconds: Any, entity: str, peer: str, name: str, role: Role, *, values: Any) -> pa.Table:
    """One signal as a table."""
    time = (np.asarray(seconds.to_numpy(), dtype=np.float64) * 1e9).astype(np.int64)
    value = pc.cast(values, pa.float64()).combine_chunks()
    texts = [pa.array([text] * len(time), pa.string()) for text in (entity, peer, name, role.value)]
    return pa.table([pa.array(time), *texts, value, pa.nulls(len(time), pa.float64())], schema=SIGNALS)


def _spans(file: Path) -> pa.Table:
    table = _read_csv(file)
    pods = table["PodName"].combine_chunks().cast(pa.string()).dictionary_encode()
    named = pa.array([service(pod) for pod in pods.dictionary.to_pylist()], pa.string())
    text = [table[name].cast(pa.string()).combine_chunks() for name in ("SpanID", "ParentID")]
    times = [table[name].cast(pa.int64()).combine_chunks() for name in ("StartTimeUnixNano", "EndTimeUnixNano")]
    arrays = [*text, named.take(pods.indices), table["OperationName"].cast(pa.string()).combine_chunks(), *times]
    return pa.table([*arrays, pa.nulls(len(table), pa.bool_())], schema=SPANS)


def _read_csv(file: Path) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(
        null_values=["", "NaN", "nan", "null", "NULL"],
        strings_can_be_null=True,
        column_types={name: pa.string() for name in ("SpanID", "ParentID", "TraceID", "PodName", "OperationName")},
    )
    try:
        return pyarrow.csv.read_csv(file, convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: cannot be read as a table: {error}") from error


def _faults(file: Path) -> list[dict[str, Any]]:
    """In the order of time, each with all that is asked of it."""
    wanted = ("inject_time", "inject_timestamp", "inject_pod", "inject_type")
    try:
        faults = [
            {key: str(fault[key]) for key in wanted} for hour in json.loads(file.read_text()).values() for fault in hour
        ]
        return sorted(faults, key=lambda fault: int(fault["inject_timestamp"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a list of faults of Nezha: {error}") from error
