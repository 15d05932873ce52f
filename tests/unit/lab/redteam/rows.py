"""An attack, what was seen of it, and its row, each with what a test names and defaults for the rest."""

from typing import Any

from loomidi_lab.redteam.judging import Seen
from loomidi_lab.redteam.records import Attack, Benign, Expect, Measured

ATTACKER, CLIENT, START = "203.0.113.11", "192.0.2.12", 1_700_000_000_000_000_000
MS = 1_000_000


def attack(**given: Any) -> Attack:
    defaults: dict[str, Any] = {
        "name": "flood",
        "technique": "T1498.001",
        "family": "volumetric",
        "commands": (("true",),),
        "attackers": (ATTACKER,),
        "expect": Expect(("syn_flood",), within_s=1),
    }
    return Attack(**defaults | given)


def decision(outcome: str = "applied", target: str = f"host/{ATTACKER}", **given: Any) -> dict[str, Any]:
    entities = given.pop("entities", [target, "service/198.51.100.10:80/tcp"])
    defaults = {"decision": outcome, "target": target, "pattern": "syn_flood", "finding": {"entities": entities}}
    return defaults | {"decided_ns": START + 10 * MS, "heard_ns": START + 30 * MS} | given


def seen(*decisions: dict[str, Any], **given: Any) -> Seen:
    defaults: dict[str, Any] = {
        "mode": "guarded",
        "rung": "xdp-native",
        "decisions": decisions,
        "first_ns": START,
        "samples": [(START, 0), (START + 100 * MS, 100), (START + 1000 * MS, 1000)],
        "first_hits": {ATTACKER: START + 20 * MS},
        "dropped": 900,
        "benign": [Benign(CLIENT, 50, 0)],
        "left": [],
        "balance": True,
    }
    return Seen(**defaults | given)


def row(**given: Any) -> Measured:
    defaults: dict[str, Any] = {
        "attack": "flood",
        "family": "volumetric",
        "technique": "T1498.001",
        "mode": "guarded",
        "rung": "xdp-native",
        "detected": True,
        "balance": True,
    }
    return Measured(**defaults | given)
