"""The detections as data: one folder each under `rules/detections`, read once per process.

Called by the detectors, the explanation and the documentation. In: `rule.yaml` (thresholds with their reason beside
them, ATT&CK ids, severity, a plain sentence, how its attack and its benign look-alikes are replayed). Out: `Rule`.
The folder lies inside the package in a wheel and at the top of a checkout.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, InputError, Severity

PATTERNS: tuple[str, ...] = (
    "syn_flood",
    "udp_flood",
    "icmp_flood",
    "tcp_flag_flood",
    "ip_flood",
    "amplification",
    "vertical_scan",
    "horizontal_scan",
    "brute_force",
    "slow_requests",
    "beaconing",
    "exfiltration",
    "neighbour_spoofing",
)
_PORT_LISTS = ("quiet_ports", "peer_ports", "talkative_ports", "fast_ports", "discovery_ports")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One detection. `thresholds` and `suspect` hold the numbers of the slow and of the fast lane."""

    pattern: str
    title: str
    techniques: tuple[str, ...]  # ATT&CK ids
    severity: Severity
    sentence: str  # why it matters, for a reader who is no specialist
    thresholds: Mapping[str, float]
    suspect: Mapping[str, float]  # empty: the fast lane does not judge this pattern
    ports: Mapping[int, str]  # amplification: reflector ports and their names
    services: Mapping[int, tuple[str, int, int]]  # brute_force: port -> name, conversations, octets
    quiet_ports: frozenset[int]  # never told
    peer_ports: frozenset[int]  # told as `info`
    talkative_ports: frozenset[int]  # udp_flood: services with much honest traffic to one host
    fast_ports: frozenset[int]  # brute_force: logins that no program opens by the dozen; slow_requests: web services
    discovery_ports: frozenset[int]  # amplification: services that answer questions to everybody
    replay: Mapping[str, Any]  # scenario and arguments of its attack
    look_alikes: tuple[Mapping[str, Any], ...]  # the same for what must stay silent


def rules_folder(name: str = "detections") -> Path:
    """Where a kind of rules is kept. Raises EnvironmentLacks when the installation lacks them."""
    here = Path(__file__).resolve()
    for folder in (here.parents[2] / "rules" / name, here.parents[4] / "rules" / name):
        if folder.is_dir():
            return folder
    raise EnvironmentLacks(f"the rules in {name} are not installed; reinstall loomidi")


@functools.cache
def load_rules(folder: Path | None = None) -> Mapping[str, Rule]:
    """All detections by pattern. Raises InputError naming the file that cannot be used."""
    import yaml  # costs start-up time; only needed once a detector is made

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    base = rules_folder() if folder is None else folder
    rules = {}
    for pattern in PATTERNS:
        path = base / pattern / "rule.yaml"
        try:
            rules[pattern] = _rule(yaml.load(path.read_text(encoding="utf-8"), Loader=loader))  # noqa: S506 - a safe one
        except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"detection {pattern} cannot be used ({path.name}: {error}); restore the file") from error
    return rules


def _rule(data: Mapping[str, Any]) -> Rule:
    return Rule(
        pattern=data["pattern"],
        title=data["title"],
        techniques=tuple(data["techniques"]),
        severity=Severity(data["severity"]),
        sentence=data["sentence"],
        thresholds={str(k): float(v) for k, v in data["thresholds"].items()},
        suspect={str(k): float(v) for k, v in data.get("suspect", {}).items()},
        ports={int(k): str(v) for k, v in data.get("ports", {}).items()},
        services={int(k): (str(n), int(c), int(o)) for k, (n, c, o) in data.get("services", {}).items()},
        **{name: frozenset(int(port) for port in data.get(name, ())) for name in _PORT_LISTS},
        replay=data["replay"],
        look_alikes=tuple(data["look_alikes"]),
    )
