"""Settings of the lake: where it lies, how it is written, what is remembered and for how long.

Read by every module of `loom.lake`; made by `services` from the configuration file and by verbs from their options.
"""

import dataclasses
from pathlib import Path

from loomidi.kit.settings import Storage

KIB, MIB = 1 << 10, 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class LakeSettings:
    """Where the tables lie and when rows become part of them."""

    warehouse: str = ""
    # Where files lie: a folder, s3://BUCKET/PREFIX, or the name that a REST catalog gives its warehouse. "": `folder`.
    catalog: str = ""
    # Who knows the tables: "" is a SQLite file in `folder`, http:// or https:// an Iceberg REST catalog.
    folder: Path = dataclasses.field(default_factory=lambda: Storage().state / "lake")
    # Of the SQLite catalog, the locks of committers and, without `warehouse`, the files themselves.
    namespace: str = "loomidi"
    # Of all tables within the catalog, so that several installations can share one.
    credential: str = ""
    # ID:SECRET of the REST catalog (OAuth 2 client credentials).
    oauth_url: str = ""
    # Where the credential is exchanged for a token; "": /v1/oauth/tokens of the catalog.
    token: str = ""
    # Bearer token of the REST catalog, where it gives one.
    s3_endpoint: str = ""
    # URL of the S3 service; "" is that of AWS.
    s3_access_key: str = ""
    # "" takes what the environment says, as every S3 client does.
    s3_secret_key: str = ""
    # Goes with `s3_access_key`.
    s3_region: str = "us-east-1"
    # Named in every signature; services of one's own take any.
    durable: bool = True
    # Local files are on the disk (fsync) before the catalog names them. Without it a power cut can lose the last ones.
    commit_rows: int = 50_000
    # Rows that make a commit due: files of some MB, two or three commits a second at full speed.
    commit_octets: int = 32 * MIB
    # Envelope octets that make a commit due, for rows that are large.
    commit_age_s: float = 1.0
    # Longest wait of a row for its commit: most of the freshness of a query.
    remember_s: float = 7 * 86400.0
    # A run of a producer that was silent for so long is forgotten; what it still sends is dead-lettered, not guessed.
    target_octets: int = 128 * MIB
    # Size that compaction aims at: few files to open, still split among cores by row groups.
    compact_rows: int = 150_000
    # Most rows that compaction sorts at once: some 2 KiB of memory for each row of flows. Half of it is "small".
    closed_s: float = 300.0
    # An hour is closed so long after its end; compaction leaves younger ones to the committer.
    keep_last: int = 50
    # The newest snapshots are all kept, for readers that are at work.
    keep_minutes: int = 60
    # Behind them one snapshot a minute for so many minutes.
    keep_hours: int = 168
    # Behind those one snapshot an hour for so many hours: how far `--as-of` reaches back.
    expire_every: int = 25
    # Commits between two expiries by the committer itself: the table's metadata stays small without anybody's care.
    grace_s: float = 600.0
    # Files that compaction replaced stay readable for so long, for queries that began before.
    sweep_age_s: float = 86400.0
    # A file that no snapshot names is an orphan when it is older; younger ones may belong to a commit under way.
