"""Captures, Arrow flows and frames as batches of `FLOW_RECORDS`, with a balance of their packets.

Called by `handling`, in a thread. In: a body and its kind. Out: batches one after the other, never all at once, and an
`Account` that is complete when they are through. Leaves the decision about damaged bodies to the caller.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import pyarrow as pa

from loomidi.contracts.schemas import FLOW_RECORDS, FLOWS
from loomidi.loom.flows import FlowTable, MeterSettings, meter
from loomidi.loom.flows.recording import as_records
from loomidi.services.http.problems import Problem
from loomidi.services.ingest_api.sniffing import Kind
from loomidi.services.ingest_api.unpacking import unpacked_octets

_MAGIC = 8  # octets before the stream within an Arrow file
_BATCH_OCTETS = 64 << 20  # of one batch of Arrow flows, unpacked
_BODY_OCTETS = 512 << 20  # of all batches of a body, unpacked: some 700,000 flows
_FRAME_FLOWS = 16  # a table for one frame; the default one takes a hundred times as long to make


@dataclasses.dataclass(slots=True)
class Account:
    """What a body held. Complete once its batches are through."""

    exporter: str  # who is said to have metered it
    link: str
    packets: dict[str, int] = dataclasses.field(default_factory=dict)  # reason -> packets; empty for Arrow
    flows: int = 0
    problem: str = ""  # where and why reading ended early

    @property
    def received(self) -> int:
        """Packets."""
        return sum(self.packets.values())


def flows_of(
    body: bytes, kind: Kind, account: Account, settings: MeterSettings, now_ns: int
) -> Iterator[pa.RecordBatch]:
    """The body's flows. Raises Problem for Arrow that is not flows and for a frame that makes none."""
    if kind is Kind.FRAME:
        batches = _of_frame(body, account, now_ns)
    elif kind in (Kind.PCAP, Kind.PCAPNG):
        batches = _of_capture(body, account, settings)
    else:
        batches = _of_arrow(body, kind, account)
    for batch in batches:
        account.flows += batch.num_rows
        yield batch


def _of_capture(body: bytes, account: Account, settings: MeterSettings) -> Iterator[pa.RecordBatch]:
    with _in_memory(body) as path, meter([path], settings) as stream:
        for batch in stream:
            yield as_records(batch, exporter=account.exporter, link=account.link)
        account.packets = {reason: packets for reason, (packets, _) in stream.balance.items() if packets}
        account.problem = "; ".join(problem.message for problem in stream.problems)


@contextlib.contextmanager
def _in_memory(body: bytes) -> Iterator[str]:
    """A path that the C reader can open; nothing is left behind, even after kill -9."""
    number = os.memfd_create("loomidi-ingest")
    try:
        with os.fdopen(number, "wb", closefd=False) as file:
            file.write(body)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _of_frame(body: bytes, account: Account, now_ns: int) -> Iterator[pa.RecordBatch]:
    with FlowTable(MeterSettings(max_flows=_FRAME_FLOWS)) as table:
        account.packets = {table.frame(body, now_ns): 1}
        table.flush()
        for batch in table.drain():
            if batch.num_rows:
                yield as_records(batch, exporter=account.exporter, link=account.link)


def _of_arrow(body: bytes, kind: Kind, account: Account) -> Iterator[pa.RecordBatch]:
    octets = pa.py_buffer(body)
    stream = octets.slice(_MAGIC) if kind is Kind.ARROW_FILE else octets
    try:
        _check_size(stream)
        with pa.ipc.open_stream(stream) as reader:
            _check_columns(reader.schema)
            for batch in reader:
                batch.validate(full=True)
                yield _as_records(batch, account)
    except (pa.ArrowException, ValueError, OSError, MemoryError) as error:
        cause = " ".join(str(error).split())[:200]
        raise Problem("unusable", f"the Arrow stream cannot be read: {cause}; write it anew") from error


def _check_size(stream: pa.Buffer) -> None:
    """Before anything is unpacked."""
    total, messages = 0, pa.ipc.MessageReader.open_stream(stream)
    with contextlib.suppress(StopIteration):
        while True:
            message = messages.read_next_message()
            if message.type == "dictionary":
                raise ValueError("it has dictionaries, flows have none")
            octets = unpacked_octets(message) if message.type == "record batch" else 0
            total += octets
            if octets > _BATCH_OCTETS or total > _BODY_OCTETS:
                detail = (
                    f"the Arrow stream unpacks to more than {_BATCH_OCTETS:,} octets a batch or {_BODY_OCTETS:,} in "
                    "all: send it in parts"
                )
                raise Problem("too-large", detail, most_octets=_BODY_OCTETS)


def _check_columns(found: pa.Schema) -> None:
    wanted = FLOW_RECORDS if len(found) > len(FLOWS) else FLOWS
    for number, field in enumerate(wanted):
        if number >= len(found) or found[number].name != field.name or found[number].type != field.type:
            have = f"{found[number].name} {found[number].type}" if number < len(found) else "nothing"
            raise Problem(
                "unusable",
                f"column {number} is {have} where flows have {field.name} {field.type}: send the columns of "
                "docs/flow-features.md, as `loomidi meter --output FILE.arrow` writes them",
            )
    if len(found) > len(wanted):
        raise Problem("unusable", f"column {found[len(wanted)].name} is not one of flows: leave it away")


def _as_records(batch: pa.RecordBatch, account: Account) -> pa.RecordBatch:
    for number, field in enumerate(batch.schema):
        wanted = FLOW_RECORDS.field(field.name)
        if not wanted.nullable and batch.column(number).null_count:
            raise Problem("unusable", f"column {field.name} has nulls, and flows may have none there: fill it")
    if batch.num_columns == len(FLOWS):
        plain = pa.RecordBatch.from_arrays(batch.columns, schema=FLOWS)
        return as_records(plain, exporter=account.exporter, link=account.link)
    return pa.RecordBatch.from_arrays(batch.columns, schema=FLOW_RECORDS)
