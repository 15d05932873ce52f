"""Settings of the transformer API.

Made by the verb, read by every file of this folder.
"""

import dataclasses
from pathlib import Path

from loomidi.contracts import Mode
from loomidi.kit.settings import Storage
from loomidi.loom.bus import BusSettings
from loomidi.loom.lake import LakeSettings
from loomidi.services.http.authority import Door
from loomidi.services.http.limits import BodyLimits

PREFIX = "/transformer-api"
MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class TransformerSettings:
    """Where it listens, what it is told of, what it keeps, and how far what it begins may go."""

    door: Door = dataclasses.field(default_factory=lambda: Door(port=8081))
    # Address, certificate, tokens that may do everything.
    read_token_file: Path | None = None
    # Tokens that may only read: for dashboards.
    analyze_token_file: Path | None = None
    # Tokens that may only hand in snapshots.
    state: Path = dataclasses.field(default_factory=lambda: Storage().state)
    # Folder of what is kept here, and of the reference.
    lake: LakeSettings = dataclasses.field(default_factory=LakeSettings)
    # Where findings, flows and windows lie; one that is not there yet is waited for.
    bus: BusSettings = dataclasses.field(default_factory=BusSettings)
    # Whose findings are followed too; without a URL those of the lake alone.
    kubeconfig: str = ""
    # Cluster in which Folds are proposed: a file, or `auto`. Empty: plans are recorded, and lead to no Fold.
    namespace: str = "default"
    # Of Folds whose target is in no namespace.
    mode: Mode = Mode.SHADOW
    # The furthest that a plan made here may go. The operator and its policies may hold it to less.
    protected: tuple[str, ...] = ()
    # Addresses or CIDRs that no Fold may touch.
    risk: float = 1e-3
    # Share of usual snapshots that may be called an anomaly.
    share: float = 0.1
    # Of the edges that are told as unusual, as many may be usual.
    valid_s: float = 600.0
    # From a plan to its begin: long enough for a program or a person to think; what it rests on passes.
    fresh_s: float = 3600.0
    # Since a finding was seen last: what is older is history and begins nothing.
    graph_s: float = 300.0
    # Of flows before the end of a finding, from the lake, that a blast radius is counted on.
    graph_rows: int = 500_000
    # Of those flows at most; some 100 MB.
    window_s: int = 60
    # Size of the windows that the reference is learned from; those that are asked about should be as long.
    learn_days: float = 7.0
    # Of the past that the reference is learned from.
    learn_again_s: float = 86_400.0
    # Age at which the reference is learned anew; 0: never.
    learn_rows: int = 1_000_000
    # Edges that it is learned from at most, the newest.
    heard_days: float = 1.0
    # How far back the lake is read for findings by a service that was not there: one that goes on is told every 5 s.
    look_again_s: float = 1.0
    # Between two looks for new findings.
    limits: BodyLimits = dataclasses.field(
        default_factory=lambda: BodyLimits(body_octets=8 * MIB, memory_octets=64 * MIB)
    )
    # Of bodies: ten thousand edges are 4 MiB.
    findings: int = 10_000
    # That are kept; the oldest are forgotten, and counted.
    decisions: int = 20_000
    # The same of plans.
    keys: int = 10_000
    # The same of idempotency keys with their answers.
    waiting: int = 16
    # Requests that may wait for each other; beyond it 429.
    engine_s: float = 10.0
    # How long the cluster may take to answer.
    retry_after_s: int = 5
    # What 503 tells the client to wait.
