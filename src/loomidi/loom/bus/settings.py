"""Settings of the bus and of who publishes on it.

Read by every module of `loom.bus`; made by `services` from the configuration file and by verbs from their options.
"""

import dataclasses
from pathlib import Path

from loomidi.kit.settings import Storage

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class BusSettings:
    """Which bus, how to reach it, how much it keeps."""

    url: str = ""
    # "" starts a NATS server of our own. nats://HOST:PORT or tls://HOST:PORT (several: commas), kafka://HOST:PORT,
    # memory:// for tests and memory://NAME for one that several parts of a process share.
    folder: Path = dataclasses.field(default_factory=lambda: Storage().state / "bus")
    # Store of the NATS server of our own, beside its configuration and password. One server at a time has it.
    port: int = 0
    # TCP port of the server of our own, on loopback; 0: one that is free, written to `folder`/server.json.
    sync: str = "2m"
    # How often the server of our own flushes to the disk what it has acknowledged, or "always": before each answer. A
    # killed server loses nothing either way; this is about power. Plans and receipts are always flushed.
    join: bool = False
    # Never start the server of our own: wait for the one that another process has over `folder`.
    prefix: str = "loomidi"
    # Of all streams, topics and consumers, so that several installations can share a cluster.
    credentials: str = ""
    # File: NATS credentials (.creds), or USER:PASSWORD in one line for NATS and for Kafka (SASL/SCRAM-SHA-512).
    tls_ca: str = ""
    # File, PEM: who signed the servers' certificates; "" trusts what the system trusts.
    tls_cert: str = ""
    # File, PEM: our own certificate where the servers ask for one.
    tls_key: str = ""
    # File, PEM: the key of `tls_cert`.
    stream_octets: int = 4096 * MIB
    # Most that one stream holds. A full stream refuses, it never forgets. Four GiB are some 20 million flows.
    retention_s: float = 3600.0
    # What every reader has dealt with stays this long, for replays, until `trim` takes it.
    duplicate_window_s: float = 600.0
    # An id that comes again within this time is held once. Costs some 100 octets of memory for each message.
    patience_s: float = 5.0
    # How long a call waits for a bus that is away before it says so.
    flight_octets: int = 16 * MIB
    # Most that is under way and not acknowledged of one `publish`.
    replicas: int = 1
    # Copies that a cluster keeps of each stream; 3 survive the loss of a server.
    partitions: int = 1
    # Of a Kafka topic when we make it. A producer's envelopes keep their order at any number.


@dataclasses.dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How batches become envelopes, and what gives way when they come faster than they go."""

    queue_octets: int = 128 * MIB
    # Most that waits in memory. Detail is lowered from a half on, sampling begins at three quarters.
    envelope_octets: int = 200 << 10
    # Aim of an envelope's size: between 64 and 256 KiB a broker is at its best and a lost flight is small.
    linger_s: float = 0.2
    # How long rows wait for others before they go in a smaller envelope.
    most_interval: int = 16
    # The thinnest sample: one row of so many.
    spool_octets: int = 1024 * MIB
    # Most that waits on disk while the bus is away; what does not fit is counted as dropped.
    segment_octets: int = 16 * MIB
    # One file of the spool; a file is removed when all of it has been published.
    retry_s: float = 1.0
    # Between two attempts while the bus is away.
    patience_s: float = 10.0
    # How long `publish` tries before it raises Retryable.
