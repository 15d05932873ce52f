"""Where the edges that a model learns from lie: a file, a recording of the lab, the lake; and what identifies them.

Called by `services.anomalies.modelling`. In: a path, or an open lake. Out: `Stream` with the snapshot in its `data`:
the lake's Iceberg snapshot, the hash of a recording's manifest, the hash of a file. The same id is the same rows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from loomidi.contracts import streams as bus
from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi.contracts.schemas import EDGE_WINDOWS, FLOWS
from loomidi.garden.graph.columns import networks, texts
from loomidi.origami.train.streams import Known, Stream, StreamSettings, stream_of

if TYPE_CHECKING:
    from loomidi.loom.lake import Lake

_BATCH = 65_536


def of_path(path: Path, settings: StreamSettings | None = None) -> Stream:
    """A recording's folder, or a Parquet or Arrow file of edges, windows or features. Raises InputError."""
    if path.is_dir():
        return of_recording(path, settings)
    return stream_of(_table(path), {"source": str(path), "snapshot": f"sha256:{_digest(path)}"}, settings)


def of_lake(
    lake: "Lake",
    settings: StreamSettings | None = None,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    as_of: int | None = None,
    spans: Iterable[Known] | None = None,
) -> Stream:
    """Windows of the lake, by workload, as of one snapshot. `spans`: what outcomes of folds are known to have been."""
    snapshots = lake.snapshots("edge_windows")
    if not snapshots:
        raise InputError("the lake has no windows yet; let `loomidi run` see some traffic first")
    snapshot = as_of or snapshots[-1].id
    rows = lake.read("edge_windows", since_ns=since_ns, until_ns=until_ns, as_of=snapshot)
    data = {"source": "lake:edge_windows", "snapshot": snapshot, "since_ns": since_ns, "until_ns": until_ns}
    return stream_of(rows, data, settings, spans)


def of_recording(folder: Path, settings: StreamSettings | None = None) -> Stream:
    """Flows of a recording of the lab, named, each conversation once, as windows; its truth as incidents.

    Failures are not judged: their edges count neither as attack nor as usual. Look-alikes are usual.
    """
    settings = settings or StreamSettings()
    manifest = folder / "MANIFEST.sha256"
    if not manifest.is_file():
        raise InputError(f"{folder} is no recording of the lab; `loomidi-lab record` makes one")
    windows, counts = _windows(folder, settings)
    data = {"source": f"recording:{folder.name}", "snapshot": f"sha256:{_digest(manifest)}", "flows": counts}
    return stream_of(windows, data, settings, _truth(folder, settings))


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix in (".arrow", ".ipc", ".feather"):
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_file(source).read_all()
        return parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}; give a Parquet or Arrow file, or a recording's folder") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _windows(folder: Path, settings: StreamSettings) -> tuple[pa.Table, dict[str, int]]:
    """EDGE_WINDOWS of the flows that count once."""
    try:
        from loomidi.loom.bus.envelopes import decode
        from loomidi.loom.runners.machines import WindowMachine
        from loomidi.loom.windows import WindowSettings, WindowSpec
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"windows need {error.name}: pip install 'loomidi[pipeline]'") from error
    specs = (WindowSpec(settings.window_s, settings.window_s),)
    machine = WindowMachine(WindowSettings(specs=specs), epoch=1)
    counts, last_ns = {"read": 0, "elsewhere": 0}, 0
    for batch in _named(folder, counts):
        machine.absorb(batch)
        last_ns = max(last_ns, pc.max(batch.column("flow_end_nanoseconds").view(pa.int64())).as_py() or 0)
    closed = machine.close(last_ns + settings.window_s * 10**9) if last_ns else []
    batches = [decode(one, EDGE_WINDOWS) for one in closed if one.stream == bus.Stream.EDGE_WINDOWS]
    if not batches:
        raise InputError(f"{folder}: no flows in it")
    return pa.Table.from_batches(batches), counts


def _named(folder: Path, counts: dict[str, int]) -> Iterator[pa.RecordBatch]:
    """FLOW_RECORDS with names, in order of their ends; those that another link tells better are counted."""
    from loomidi.garden.graph.labelling import FlowNamer
    from loomidi.garden.graph.naming import AddressBook
    from loomidi.loom.flows.recording import as_records

    book = AddressBook(folder / "addresses.jsonl")
    book.refresh()
    namer = FlowNamer(book, late_s=60.0)
    for path in sorted((folder / "flows").glob("part-*.parquet")):
        for batch in parquet.ParquetFile(path).iter_batches(_BATCH):
            named = namer(as_records(batch.select(FLOWS.names), exporter="recording", link="recording"))
            mine = _of_this_link(batch, named)
            counts["read"] += batch.num_rows
            counts["elsewhere"] += batch.num_rows - mine.num_rows
            yield mine


def _of_this_link(batch: pa.RecordBatch, named: pa.RecordBatch) -> pa.RecordBatch:
    """A conversation is met on the links of both its pods: it is told by its destination's, else by its source's."""
    pod = pc.binary_join_element_wise("pod", batch.column("namespace"), batch.column("pod"), "/")
    source, destination = (pc.fill_null(named.column(f"{end}_entity"), "") for end in ("source", "destination"))
    elsewhere = pc.or_(pc.starts_with(destination, "pod/"), pc.starts_with(destination, "service/"))
    here = pc.or_(pc.equal(destination, pod), pc.and_(pc.equal(source, pod), pc.invert(elsewhere)))
    return named.filter(pc.and_(pc.equal(batch.column("link_kind"), "pod"), here))


def _truth(folder: Path, settings: StreamSettings) -> list[Known]:
    """Attacks by the names of their sources, else of their victims; failures as what is not judged."""
    try:
        document = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        pairs = list(zip(document["planned"], document["measured"], strict=True))
        return [
            _known(planned, measured, settings)
            for planned, measured in pairs
            if measured["valid"] and planned["category"] in ("attack", "failure")
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'truth.json'} cannot be used: {error}; record it again") from error


def _known(planned: Mapping[str, Any], measured: Mapping[str, Any], settings: StreamSettings) -> Known:
    attack = planned["category"] == "attack"
    found = (measured["sources"] or measured["victims"]) if attack else [*measured["sources"], *measured["victims"]]
    names = frozenset(name for one in found for name in _names(one))
    end_ns = int(measured["end_ns"]) + settings.window_s * 10**9  # a flow is told at the end of its window
    return Known(planned["family"] if attack else "?", int(measured["start_ns"]), end_ns, names)


def _names(found: Mapping[str, Any]) -> Iterator[str]:
    """The workload, its pods, and the networks of its addresses, as features name ends."""
    entity = found["entity"]
    space = f"{entity['namespace']}/" if entity.get("namespace") else ""
    yield f"{entity['kind'].lower()}/{space}{entity['name']}"
    for pod in found.get("pods") or ():
        if pod.get("name"):
            yield f"pod/{entity.get('namespace', '')}/{pod['name']}"
        if pod.get("address"):
            yield from networks(texts(pa.array([pod["address"]])), 0).astype(str).tolist()
