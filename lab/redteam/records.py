"""What an attack of the catalogue is, what is expected of it, and what a run has measured.

Written by `catalogue`, read by `carrying`, `judging` and `tables`. Frozen records, JSON-able; times are seconds where a
name ends in `_s`, ns since the epoch where it ends in `_ns`. Nothing here runs anything.
"""

import dataclasses
from typing import Any

BLOCKED, NOTED, SPARED = "blocked", "noted", "spared"
Command = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Expect:
    """What must come of an attack. A row that misses any of it fails the run."""

    patterns: tuple[str, ...]  # of the findings that count as having seen it
    act: str = BLOCKED  # blocked; noted: found, but nobody in particular is cut; spared: found, and nobody may be cut
    within_s: float = 5.0  # from the first packet to the finding
    share: float = 0.0  # of the attack's packets after the first drop that must be dropped, 0..1
    missed: str = ""  # why it is known not to be found: a named miss fails no run and counts as not detected


@dataclasses.dataclass(frozen=True, slots=True)
class Attack:
    """One attack: what is run in the attacker's room, who really does it, and what is expected."""

    name: str
    technique: str  # MITRE ATT&CK
    family: str  # volumetric, scan, slow, guessing, leaving, spoof, evasion
    commands: tuple[Command, ...]  # all at once, each ended after `seconds`
    attackers: tuple[str, ...]  # the truth: addresses of who is at it; empty when every packet names another
    expect: Expect
    seconds: float = 4.0
    says: str = ""  # in words, for the table
    forged: tuple[str, ...] = ()  # addresses of others that it claims: these must never be cut
    present: tuple[str, ...] = ()  # honest addresses that speak once before it begins: their neighbours know them
    servers: tuple[str, ...] = ()  # of `serving.SERVERS`, besides the web and the name service
    needs: tuple[str, ...] = ()  # programs; when one is missing, the row is skipped with that reason
    settle_s: float = 6.0  # longest wait for findings and drops after its end
    shares_address: bool = False  # benign requests come from the first attacker's address, too
    arp: bool = False  # it begins with a frame that is no IP packet, or a neighbour's message
    short: bool = False  # of the short catalogue


@dataclasses.dataclass(frozen=True, slots=True)
class Benign:
    """Requests of one address."""

    address: str
    sent: int
    lost: int
    cut: int = 0  # established connections that did not survive
    within: bool = False  # inside the blast radius of what stood in this row


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What one attack in one mode has shown."""

    attack: str
    family: str
    technique: str
    mode: str
    rung: str
    detected: bool
    pattern: str = ""  # of the first finding that counts
    outcome: str = ""  # what came of it: applied, refused, noted, would
    finding_s: float | None = None  # first packet on the link -> the finding was told
    drop_s: float | None = None  # first packet on the link -> first hit of an entry in the kernel
    stood: bool = False  # an entry against who is at it; a short attack may be over before it meets one
    sent: int = 0  # packets of the attacker's link during the attack
    dropped: int = 0  # by the shield
    blocked_share: float | None = None  # dropped by sent, after the first drop
    benign_sent: int = 0
    lost_within: int = 0  # inside the stated blast radius
    lost_outside: int = 0
    connections_cut: int = 0
    collateral: tuple[str, ...] = ()  # targets acted on that cover somebody who did nothing
    others: tuple[str, ...] = ()  # findings about those who did nothing, and whose name was not used
    entries: int = 0
    undone: int = 0
    balance: bool = False
    failures: tuple[str, ...] = ()  # expectations that were missed
    named_miss: str = ""
    at: int = 0  # seconds since the epoch
    said: tuple[str, ...] = ()  # last lines of the tools that went wrong

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return dataclasses.asdict(self)


def measured(line: dict[str, Any]) -> Measured:
    """Back from JSON. Fields that a later version adds have their defaults; unknown ones are left out."""
    known = {field.name for field in dataclasses.fields(Measured)}
    given: dict[str, Any] = {name: value for name, value in line.items() if name in known}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return Measured(**given)
