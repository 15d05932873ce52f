"""The attacks of the demo, in order: what is sent, who must be stopped for it, and what it is called.

Called by the story (live) and the twin's replay. Pure but for looking whether `nmap` and `hping3` are installed, which
are used then. Every address is of the testbed.
"""

import dataclasses
import shutil
from typing import Any

from loomidi.services.demo.testbed import ATTACKERS, CLIENTS, GATEWAY, LOGIN, WEB, WEB6

ATTACKER6 = "2001:db8:66::66"
PROTECTED = (GATEWAY, CLIENTS[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Attack:
    """One attack. `order` is for `traffic`; `tool` is a command instead."""

    title: str
    order: dict[str, Any]
    culprits: tuple[str, ...]  # targets that must be acted on; a network matches by its beginning
    pattern: str
    tool: tuple[str, ...] = ()
    patience_s: float = 3.0  # how long after its end the last decision may come
    exact: tuple[str, ...] = ()  # sources whose every frame is counted by the generator


def _flood(title: str, kind: str, source: str, seconds: float, *, exact: bool = False, **more: Any) -> Attack:
    """`exact`: nothing else comes from this source. Not so for SYNs: the attacker's own kernel answers with RST."""
    order = {"do": "flood", "kind": kind, "source": source, "target": WEB, "port": 80, "seconds": seconds} | more
    return Attack(title, order, (f"host/{source}",), kind, exact=(source,) if exact else ())


def attacks(*, tools: bool = True) -> list[Attack]:
    """Those that this machine can run; own generators stand in for tools that are not installed or not wanted."""
    reflectors = list(ATTACKERS[2:6])
    amplified = {"do": "flood", "kind": "amplification", "source": "", "target": WEB, "seconds": 0.8}
    listed = [
        _flood("SYN flood", "syn_flood", ATTACKERS[0], 2.2),
        _flood("UDP flood", "udp_flood", ATTACKERS[1], 0.8, exact=True),
        Attack(
            "DNS amplification, 4 reflectors",
            amplified | {"reflectors": reflectors},
            tuple(f"host/{reflector}" for reflector in reflectors),
            "amplification",
        ),
        _flood("SYN flood over IPv6", "syn_flood", ATTACKER6, 0.6, target=WEB6),
        _port_scan(tools),
        _flood("scan across hosts", "horizontal_scan", ATTACKERS[7], 0.5, target="198.51.100.0/24", port=22),
        Attack(
            "password guessing, real logins",
            {"do": "logins", "source": ATTACKERS[9], "target": LOGIN, "seconds": 4.5, "per_second": 80},
            (f"host/{ATTACKERS[9]}",),
            "brute_force",
            patience_s=8.0,
        ),
    ]
    if tools and shutil.which("hping3"):
        listed.insert(2, _hping())
    return listed


def forged_for_protected(source: str) -> Attack:
    """A flood in the name of somebody who must never be cut."""
    return dataclasses.replace(_flood(f"SYN flood forged as {source}", "syn_flood", source, 0.4), culprits=())


def forged_at_random() -> Attack:
    """A flood in which nearly every packet claims another source."""
    order = {"do": "flood", "kind": "spoofed_syn_flood", "source": "", "target": WEB, "port": 80}
    more = {"seconds": 4.0, "pps": 5000, "frames": 20000}
    return Attack("SYN flood, 20,000 forged sources", order | more, ("network/198.1",), "syn_flood", patience_s=6.0)


def _port_scan(tools: bool) -> Attack:
    attack = _flood("port scan", "vertical_scan", ATTACKERS[6], 1.0)
    if not (tools and shutil.which("nmap")):
        return attack
    how = ("-sS", "-Pn", "-n", "-T4", "--max-retries", "0", "-p", "1-1024", "-e", "eth0", "-S", ATTACKERS[6])
    return dataclasses.replace(attack, title="port scan (nmap)", tool=("nmap", *how, WEB))


def _hping() -> Attack:
    source = ATTACKERS[8]
    attack = _flood("SYN flood (hping3)", "syn_flood", source, 1.0)
    return dataclasses.replace(attack, tool=("hping3", "-q", "-S", "-p", "80", "--flood", "-a", source, WEB))
