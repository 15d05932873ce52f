"""Batches come out of envelopes as they went in; what nobody can use is refused with its cause."""

import dataclasses
import random

import pyarrow as pa
import pytest

from loomidi.contracts.errors import UsageError
from loomidi.contracts.schemas import METRICS
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus.envelopes import BadBatch, decode, encode, from_headers, to_headers

NUMBERS = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.utf8())])


BOMB = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + (1 << 40).to_bytes(8, "little") + b"\x00" * 8


def batch(rows: int = 3) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(rows), pa.int64()), pa.array(["x"] * rows)], schema=NUMBERS)


def enveloped(given: pa.RecordBatch, **changes: object) -> Envelope:
    return dataclasses.replace(encode(given, stream="flows", producer="n1", epoch=7, seq=0), **changes)


def test_a_batch_comes_out_as_it_went_in() -> None:
    assert decode(enveloped(batch()), NUMBERS).equals(batch())


def test_an_empty_batch_stays_one() -> None:
    assert decode(enveloped(batch(0)), NUMBERS).num_rows == 0


def test_the_id_says_producer_run_and_place() -> None:
    assert encode(batch(), stream="flows", producer="n1", epoch=7, seq=9).id == "n1/7/9"


@pytest.mark.parametrize("producer", ["", "a/b", "a b", "a\r\nb", "x" * 129])
def test_a_producer_that_cannot_be_part_of_an_id_is_refused(producer: str) -> None:
    with pytest.raises(UsageError):
        encode(batch(), stream="flows", producer=producer, epoch=7, seq=0)


def test_what_an_older_writer_did_not_know_is_null() -> None:
    grown = pa.schema([*NUMBERS, pa.field("c", pa.float64())])
    assert decode(enveloped(batch()), grown).column("c").null_count == 3


def test_columns_in_another_order_are_put_in_ours() -> None:
    turned = batch().select(["b", "a"])
    assert decode(enveloped(turned), NUMBERS).equals(batch())


@pytest.mark.parametrize(
    ("given", "schema", "cause"),
    [
        (enveloped(batch(), schema_version=2), NUMBERS, "schema version 2, this reader knows 1 to 1"),
        (enveloped(batch(), schema_version=-1), NUMBERS, "schema version -1"),
        (enveloped(batch(), rows=4), NUMBERS, "holds 3 rows, its envelope says 4"),
        (enveloped(batch(), payload=b""), NUMBERS, "no Arrow stream"),
        (enveloped(batch(), payload=b"\x00" * 64), NUMBERS, "holds no batch|no Arrow stream"),
        (enveloped(batch(), payload=enveloped(batch()).payload[:-20]), NUMBERS, "no Arrow stream"),
        (enveloped(batch(), payload=enveloped(batch()).payload[:10]), NUMBERS, "cut off"),
        (enveloped(batch(), payload=BOMB), NUMBERS, "says to hold 1099511627776 octets"),
        (enveloped(batch()), METRICS, "unknown column a, no column timestamp"),
        (enveloped(batch()), NUMBERS.set(0, pa.field("a", pa.int32())), "column a is int64, not int32"),
    ],
)
def test_what_nobody_can_use_is_refused_with_its_cause(given: Envelope, schema: pa.Schema, cause: str) -> None:
    with pytest.raises(BadBatch, match=cause):
        decode(given, schema)


def test_a_null_where_there_must_be_none_is_refused() -> None:
    loose = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int64()), pa.array(["x", "y"])], names=["a", "b"])
    with pytest.raises(BadBatch, match="column a has 1 nulls"):
        decode(enveloped(loose), NUMBERS)


def test_two_batches_in_one_envelope_are_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, NUMBERS) as writer:
        writer.write_batch(batch())
        writer.write_batch(batch())
    with pytest.raises(BadBatch, match="more than one batch"):
        decode(enveloped(batch(), payload=sink.getvalue().to_pybytes()), NUMBERS)


def test_flipped_octets_never_do_worse_than_a_bad_batch() -> None:
    """Some flips change a value and nothing else: the broker's own checksums are there for those."""
    whole, dice = enveloped(batch(500)), random.Random(1)
    for _ in range(300):
        octets = bytearray(whole.payload)
        octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
        try:
            decoded = decode(dataclasses.replace(whole, payload=bytes(octets)), NUMBERS)
        except BadBatch:
            continue
        assert decoded.num_rows == 500
        assert len(decoded.column("b").to_pylist()) == 500


@pytest.mark.parametrize("rows", [0, 1, 10, 100, 1000, 100_000])
def test_an_envelope_of_any_size_comes_out(rows: int) -> None:
    assert decode(enveloped(batch(rows)), NUMBERS).equals(batch(rows))


def test_an_arrow_stream_without_a_frame_is_read_too() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, NUMBERS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch())
    assert decode(enveloped(batch(), payload=sink.getvalue().to_pybytes()), NUMBERS).equals(batch())


def test_headers_and_payload_are_the_whole_envelope() -> None:
    given = enveloped(batch(), sampling_interval=4, created_ns=5)
    assert from_headers(to_headers(given), given.payload, stream="flows", offset=1) == given


@pytest.mark.parametrize("headers", [{}, {"Loomidi-Epoch": "x"}, to_headers(enveloped(batch())) | {"Loomidi-Seq": "-"}])
def test_a_message_that_is_not_ours_is_refused_when_it_is_decoded(headers: dict[str, str]) -> None:
    with pytest.raises(BadBatch, match="without the headers"):
        decode(from_headers(headers, b"hello", stream="flows", offset=1), NUMBERS)
