"""Everything that `loomidi run` may be told, as one document of groups.

Read from a TOML file and the environment by `kit.configuring`, printed by `loomidi run --print-config`, handed down by
`pipeline`. Groups of houses are theirs (bus, lake, ...); the groups here are of the parts that only exist in `run`.
"""

import dataclasses
import enum
import re
import socket
from pathlib import Path

from loomidi.contracts.errors import UsageError
from loomidi.kit.settings import Storage
from loomidi.loom.bus import BusSettings, PublisherSettings
from loomidi.loom.lake import LakeSettings
from loomidi.loom.windows import SPECS, WindowSettings
from loomidi.services.events.settings import EventSettings
from loomidi.services.http.authority import Door
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.settings.agent import AgentSettings
from loomidi.services.settings.anomalies import AnomalySettings
from loomidi.services.settings.answers import DetectSettings, FoldingSettings
from loomidi.services.settings.cutting import CutSettings
from loomidi.services.settings.naming import NamingSettings
from loomidi.services.settings.sources import SourceSettings


def _host() -> str:
    """The machine's name in letters that an envelope's id may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100] or "node"


@dataclasses.dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who we are and where we keep what outlives us."""

    name: str = dataclasses.field(default_factory=_host)
    # In every id that we give and every counter: one name for one machine. Letters, digits, dot, hyphen, underscore.
    state: Path = dataclasses.field(default_factory=lambda: Storage().state)
    # Folder of spools, checkpoints and read positions.


@dataclasses.dataclass(frozen=True, slots=True)
class UpkeepSettings:
    """What is done to the lake and the bus now and then, without anybody's care."""

    every_s: float = 60.0
    # Between two rounds; 0: never.
    sweep_every_s: float = 6 * 3600.0
    # Between two searches for orphaned files; 0: never.


@dataclasses.dataclass(frozen=True, slots=True)
class CountSettings:
    """How often the parts count what they did, for the loss balance."""

    every_s: float = 1.0
    # Between two counts: what a killed process had published since its last one is told as `untold`.


class Runner(enum.StrEnum):
    """Who runs the window operators."""

    LOCAL = "local"
    FLINK = "flink"


@dataclasses.dataclass(frozen=True, slots=True)
class WindowGroup:
    """Windows of flows and HTTP metrics, made beside the bus; see docs/windows.md."""

    runner: Runner = Runner.LOCAL
    # local: in this process, on any bus. flink: a job of Apache Flink beside it, on Kafka (`make flink-tools`).
    flink_master: str = ""
    # JobManager of a session cluster, HOST:PORT; empty: a mini-cluster on this machine.
    sizes_s: tuple[int, ...] = (10, 60, 300)
    # Of 1, 10, 60 and 300 s; none: no windows. Those of 60 and 300 s slide by 10 and 60 s; those of 1 s cost a third.
    lateness_s: float = 12.0
    # How far behind the newest flow of its exporter a row may come; later ones go to the stream `late`. An agent tells
    # a flow that fell silent `agent.idle_s` and a drain after its end: less than that would make each of them late.
    idle_s: float = 30.0
    # An exporter that is silent for longer does not hold the others back.
    grain: str = "entity"
    # Who is a source or destination: entity (pod, else address) or workload.
    checkpoint_s: float = 15.0
    # Between snapshots of the state: what is read again after a crash.
    max_edges: int = 200_000
    # Of one window; what is beyond, the smallest first, is collapsed into the edge `other`.

    def settings(self) -> WindowSettings:
        """As the operators take them. Raises UsageError for a size that is not made."""
        made = {spec.size_s: spec for spec in SPECS}
        unknown = [size for size in self.sizes_s if size not in made]
        if unknown:
            raise UsageError(f"windows of {unknown[0]} s: use {', '.join(map(str, made))}")
        return WindowSettings(
            specs=tuple(made[size] for size in self.sizes_s),
            lateness_s=self.lateness_s,
            idle_s=self.idle_s,
            grain=self.grain,
            max_edges=self.max_edges,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class RunSettings:
    """All groups."""

    node: NodeSettings = dataclasses.field(default_factory=NodeSettings)
    bus: BusSettings = dataclasses.field(default_factory=BusSettings)
    publisher: PublisherSettings = dataclasses.field(default_factory=PublisherSettings)
    lake: LakeSettings = dataclasses.field(default_factory=LakeSettings)
    upkeep: UpkeepSettings = dataclasses.field(default_factory=UpkeepSettings)
    count: CountSettings = dataclasses.field(default_factory=CountSettings)
    ingest: IngestSettings = dataclasses.field(default_factory=IngestSettings)
    agent: AgentSettings = dataclasses.field(default_factory=AgentSettings)
    cuts: CutSettings = dataclasses.field(default_factory=CutSettings)
    sources: SourceSettings = dataclasses.field(default_factory=SourceSettings)
    windows: WindowGroup = dataclasses.field(default_factory=WindowGroup)
    naming: NamingSettings = dataclasses.field(default_factory=NamingSettings)
    detect: DetectSettings = dataclasses.field(default_factory=DetectSettings)
    anomalies: AnomalySettings = dataclasses.field(default_factory=AnomalySettings)
    fold: FoldingSettings = dataclasses.field(default_factory=FoldingSettings)
    events: EventSettings = dataclasses.field(default_factory=EventSettings)
    probes: Door = dataclasses.field(default_factory=lambda: Door(port=8079))
