"""Settings of the sinks, one group each.

Read by the adapters; made by `services` from the section `events` of the one configuration file.
"""

import dataclasses
import enum
from pathlib import Path


class Format(enum.StrEnum):
    """In whose words."""

    OCSF = "ocsf"
    STIX = "stix"


class Transport(enum.StrEnum):
    """How syslog travels."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


@dataclasses.dataclass(frozen=True, slots=True)
class StdoutSettings:
    """Events on standard output, a line each."""

    on: bool = False
    # For whoever collects the output of containers.
    format: Format = Format.OCSF
    # ocsf or stix.


@dataclasses.dataclass(frozen=True, slots=True)
class FileSettings:
    """Events in files of JSON lines."""

    path: str = ""
    # The file that is written to; empty: none. Its folder is made.
    format: Format = Format.OCSF
    # ocsf or stix.
    most_octets: int = 64 << 20
    # A file of this size is put aside under the time of its end; files put aside are never deleted. 0: no limit.
    most_s: float = 86_400.0
    # So is one that was begun, or was last written to before a start, this long ago. 0: no limit.
    fsync: bool = True
    # Each batch has reached the disk before it counts as sent.


@dataclasses.dataclass(frozen=True, slots=True)
class NatsSettings:
    """Events on a subject of NATS JetStream."""

    url: str = ""
    # nats://HOST:PORT or tls://HOST:PORT; empty: none.
    format: Format = Format.OCSF
    # ocsf or stix.
    subject: str = "loomidi.told"
    # On which they are published.
    stream: str = "loomidi-told"
    # Made when no stream holds the subject yet.
    credentials: str = ""
    # File: NATS credentials (.creds), or USER:PASSWORD in one line.
    tls_ca: str = ""
    # File, PEM: who signed the server's certificate; empty trusts what the system trusts.
    patience_s: float = 5.0
    # How long an answer is waited for.


@dataclasses.dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Events on a topic of Apache Kafka."""

    url: str = ""
    # kafka://HOST:PORT; empty: none.
    format: Format = Format.OCSF
    # ocsf or stix.
    topic: str = "loomidi-told"
    # Must be there. All events have one key, so that they keep their order in one partition.
    credentials: str = ""
    # File: USER:PASSWORD in one line (SASL/SCRAM-SHA-512).
    tls_ca: str = ""
    # File, PEM: who signed the brokers' certificates.
    patience_s: float = 10.0
    # How long an answer is waited for.


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Events as signed HTTPS POSTs, as Standard Webhooks says."""

    url: str = ""
    # https://...; http:// is for loopback alone; empty: none.
    format: Format = Format.OCSF
    # ocsf or stix.
    secret: Path | None = None
    # File with the shared secret, `whsec_` and Base64, of 24 to 64 octets. Read at each start.
    tls_ca: str = ""
    # File, PEM: who signed the server's certificate; empty trusts what the system trusts.
    timeout_s: float = 10.0
    # Until an answer is given up.


@dataclasses.dataclass(frozen=True, slots=True)
class SyslogSettings:
    """Events as syslog messages, RFC 5424."""

    host: str = ""
    # Name or address of the receiver; empty: none.
    port: int = 0
    # 0: 514 for udp, 601 for tcp, 6514 for tls.
    transport: Transport = Transport.TLS
    # udp (RFC 5426), tcp with octet counting (RFC 6587), tls (RFC 5425). Only the receiver knows what arrived: udp and
    # a connection that breaks lose what was under way.
    format: Format = Format.OCSF
    # ocsf or stix.
    facility: int = 16
    # 0 to 23; 16 is local0.
    tls_ca: str = ""
    # File, PEM: who signed the receiver's certificate; empty trusts what the system trusts.
    tls_cert: str = ""
    # File, PEM: our own certificate where the receiver asks for one.
    tls_key: str = ""
    # File, PEM: the key of `tls_cert`.
    timeout_s: float = 10.0
    # Until a connection or a write is given up.
