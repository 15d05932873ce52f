"""Kafka topics or folders of files as source and sink of the job.

Called by `job`, in Flink's environment. In: the environment, settings. Out: a stream of payloads, and what takes
envelopes. Kafka's sink is Flink's table sink: it is the one that can write headers, which the bus needs, from Python.
Each stream has a table; its transactions are committed with Flink's checkpoints.
"""

import base64
import json
from typing import Any

from pyflink.common import Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema, Encoder
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import (
    FileSink,
    FileSource,
    OutputFileConfig,
    RollingPolicy,
    StreamFormat,
)
from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource
from pyflink.table import StreamTableEnvironment

from loomidi.contracts.streams import Stream
from loomidi.loom.runners.flink.functions import BYTES
from loomidi.loom.runners.flink.settings import CONNECTOR, FlinkSettings

DEAD = "dead"  # the bus's topic of dead letters


def payloads(env: StreamExecutionEnvironment, stream: Stream, settings: FlinkSettings) -> DataStream:
    """Arrow IPC streams of flows or metrics, as they come."""
    never = WatermarkStrategy.no_watermarks()
    if not settings.bootstrap:
        source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), f"{settings.source}/{stream}")
        lines = env.from_source(source.process_static_file_set().build(), never, stream.value)
        return lines.map(base64.b64decode, output_type=BYTES)
    env.add_jars((settings.home / f"flink-sql-connector-kafka-{CONNECTOR}.jar").as_uri())
    builder = KafkaSource.builder().set_bootstrap_servers(settings.bootstrap).set_group_id(settings.group)
    builder = builder.set_topics(settings.topic(stream)).set_value_only_deserializer(ByteArraySchema())
    builder = builder.set_starting_offsets(KafkaOffsetsInitializer.earliest())
    for name, value in settings.properties:
        builder = builder.set_property(name, value)
    if settings.bounded:
        builder = builder.set_bounded(KafkaOffsetsInitializer.latest())
    return env.from_source(builder.build(), never, stream.value).uid(f"loomidi-{stream}")


def deliver(env: StreamExecutionEnvironment, envelopes: DataStream, settings: FlinkSettings) -> None:
    """Write envelopes, each exactly once."""
    if not settings.bootstrap:
        lines = envelopes.map(_line, output_type=Types.STRING())
        sink = FileSink.for_row_format(settings.sink, Encoder.simple_string_encoder())
        sink = sink.with_output_file_config(OutputFileConfig.builder().with_part_suffix(".jsonl").build())
        lines.sink_to(sink.with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy()).build())
        return
    tables = StreamTableEnvironment.create(env)
    statements = tables.create_statement_set()
    for stream in (Stream.EDGE_WINDOWS, Stream.ENTITY_WINDOWS, Stream.LATE, DEAD):
        tables.execute_sql(_table(stream, settings))
        rows = envelopes.filter(lambda row, stream=str(stream): _goes_to(row) == stream)
        chosen = tables.from_data_stream(rows)
        statements.add_insert(str(stream), chosen.drop_columns(chosen.stream))
    statements.attach_as_datastream()


def _table(stream: str, settings: FlinkSettings) -> str:
    options = {
        "connector": "kafka",
        "topic": settings.topic(stream),
        "properties.bootstrap.servers": settings.bootstrap,
        "properties.transaction.timeout.ms": str(max(round(settings.checkpoint_s * 10_000), 60_000)),
        "key.format": "raw",
        "key.fields": "producer",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"{settings.group}-{stream}",
        **{f"properties.{name}": value for name, value in settings.properties},
    }
    quoted = {name: value.replace("'", "''") for name, value in options.items()}
    told = ", ".join(f"'{name}' = '{value}'" for name, value in quoted.items())
    columns = "producer STRING, headers MAP<STRING, BYTES> METADATA, payload BYTES"
    return f"CREATE TABLE {stream} ({columns}) WITH ({told})"


def _goes_to(row: Any) -> str:
    return DEAD if "Loomidi-Cause" in row[2] else str(row[0])


def _line(row: Any) -> str:
    """One envelope as JSON."""
    headers = {name: bytes(value).decode() for name, value in row[2].items()}
    return json.dumps({"headers": headers, "payload": base64.b64encode(bytes(row[3])).decode()})
