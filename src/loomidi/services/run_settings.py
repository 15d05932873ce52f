"""Everything that `loomidi run` may be told, as one document of groups.

Read from a TOML file and the environment by `kit.configuring`, printed by `loomidi run --print-config`, handed down by
`pipeline`. Groups of houses are theirs (bus, lake, ...); the groups here are of the parts that only exist in `run`.
"""

import dataclasses
import re
import socket
from pathlib import Path

from loomidi.kit.settings import Storage
from loomidi.loom.bus import BusSettings, PublisherSettings
from loomidi.loom.lake import LakeSettings
from loomidi.services.agent_settings import AgentSettings
from loomidi.services.http.authority import Door
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.naming_flows import NamingSettings
from loomidi.services.source_settings import SourceSettings


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
    sources: SourceSettings = dataclasses.field(default_factory=SourceSettings)
    naming: NamingSettings = dataclasses.field(default_factory=NamingSettings)
    probes: Door = dataclasses.field(default_factory=lambda: Door(port=8079))
