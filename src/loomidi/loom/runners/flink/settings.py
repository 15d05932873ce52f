"""Settings of the Flink job, as the submitting process writes them and the job reads them.

Made by services and tests, read by `submitting` and `job`. In: addresses, folders, seconds. Out: a frozen record, and
the same as JSON, which is how it gets into the other environment.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import UsageError
from loomidi.loom.windows import WindowSettings, WindowSpec

FLINK, CONNECTOR = "2.3.0", "5.0.0-2.2"
"""Versions of Flink and of its Kafka connector (the newest of Apache, built for Flink 2.2 and later)."""


@dataclasses.dataclass(frozen=True, slots=True)
class FlinkSettings:
    """Where the job runs, what it reads and writes."""

    windows: WindowSettings = dataclasses.field(default_factory=WindowSettings)
    # Which windows, and their bounds.
    bootstrap: str = ""
    # Kafka brokers, host:port,...; empty: read and write folders of files instead.
    prefix: str = "loomidi"
    # Of topics, as in the settings of the bus: `loomidi.flows`.
    properties: tuple[tuple[str, str], ...] = ()
    # More of Kafka's client, such as security.protocol and sasl.jaas.config; names as in Kafka's documentation.
    source: str = ""
    # Without brokers: a URL under which `flows` and `metrics` are folders of text files; a line is an Arrow IPC stream,
    # in base64.
    sink: str = ""
    # Without brokers: a folder's URL; each line is a JSON object of an envelope, its payload in base64.
    bounded: bool = False
    # End at what is there now and close all windows; else go on until the job is cancelled.
    group: str = "loomidi-windows-flink"
    # Consumer group, and prefix of the sink's transactions: one for each job.
    master: str = ""
    # JobManager of a session cluster, host:port; empty: a mini-cluster within the submitting process.
    parallelism: int = 1
    # Tasks that read and put together; as many as `flows` has partitions.
    checkpoint_s: float = 10.0
    # Between checkpoints; windows become visible to readers with the next one.
    checkpoints: str = ""
    # Where checkpoints are kept, a file:// or s3:// URL; empty: Flink's own default, lost with the process.
    restore: str = ""
    # A checkpoint or savepoint to go on from, as a URL; empty: begin anew.
    epoch: int = 0
    # Of the envelopes; 0: the time of the submission. Keep it when the job goes on from a checkpoint.
    tools: str = ""
    # Where `make flink-tools` put PyFlink and the connector; empty: ~/.cache/loomidi/flink-VERSION.

    def __post_init__(self) -> None:
        """Raises UsageError without a source and a sink."""
        if not self.bootstrap and not (self.source and self.sink):
            raise UsageError("flink: name Kafka brokers, or a source folder and a sink folder")
        if self.parallelism < 1 or self.checkpoint_s <= 0:
            raise UsageError("flink: parallelism is at least 1, and checkpoints are more than 0 s apart")

    @property
    def home(self) -> Path:
        """The tools' folder."""
        return Path(self.tools).absolute() if self.tools else Path.home() / ".cache" / "loomidi" / f"flink-{FLINK}"

    def topic(self, stream: str) -> str:
        """As the bus names it."""
        return f"{self.prefix}.{stream}"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "FlinkSettings":
        """What `to_json` gave."""
        told: dict[str, Any] = json.loads(text)
        windows = told.pop("windows")
        specs = tuple(WindowSpec(**spec) for spec in windows.pop("specs"))
        properties = tuple((name, value) for name, value in told.pop("properties"))
        return cls(WindowSettings(specs=specs, **windows), properties=properties, **told)
