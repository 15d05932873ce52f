"""Settings of the ingestion API.

Made by the verb and by the pipeline's configuration, read by every file of this folder.
"""

import dataclasses

from loomidi.loom.flows import MeterSettings
from loomidi.services.http.authority import Door
from loomidi.services.http.limits import BodyLimits

PREFIX = "/loom-api"
KIB = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class IngestSettings:
    """Where it listens and how much it takes at once."""

    door: Door = dataclasses.field(default_factory=Door)
    # Address, certificate, tokens.
    limits: BodyLimits = dataclasses.field(default_factory=BodyLimits)
    # Of bodies.
    meter: MeterSettings = dataclasses.field(default_factory=MeterSettings)
    # When a flow of a posted capture ends.
    bus_wait_s: float = 8.0
    # How long a request waits for a bus that does not acknowledge; then 503. Clients give up after 10 to 30 s.
    retry_after_s: int = 5
    # What 503 tells the client to wait.
    inline_octets: int = 128 * KIB
    # A JSON body up to this is read at once and shares an envelope with others; a larger one goes to a thread.
    group_rows: int = 16384
    # Most rows of requests that are committed together.
    envelope_octets: int = 512 * KIB
    # Of the rows of one envelope before they are packed: 64 to 256 KiB afterwards, far below a broker's most.
    event_octets: int = 16 * 1024 * KIB
    # Of a body of events: each is kept whole, so all of them lie in memory as objects for a moment.
    spooled_octets: int = 32 * 1024 * KIB
    # Packed rows of one body that wait in memory until the whole body is known to be good; more waits in a file.
    threads: int = 2
    # Bodies that are metered or parsed at the same time, beside the loop that answers.
    keys: int = 10_000
    # Idempotency keys whose answers are remembered; older ones are told by the bus and the lake.
