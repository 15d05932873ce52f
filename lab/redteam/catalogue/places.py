"""Addresses and words that the lists of the catalogue share. Data; every address is one of the testbed's rooms."""

import sys

from loomidi.services.demo.testbed import ATTACKERS, CLIENTS, CLIENTS6, LOGIN, WEB, WEB6
from loomidi_lab.redteam.records import Command

ATTACKER, ATTACKER6, INSIDE = ATTACKERS[0], "2001:db8:66::66", "10.66.0.66"
PROTECTED, ESTABLISHED, NEIGHBOUR, NEIGHBOUR6 = CLIENTS[0], CLIENTS[1], CLIENTS[-1], CLIENTS6[-1]
__all__ = ["ATTACKER", "ATTACKER6", "ATTACKERS", "CLIENTS", "ESTABLISHED", "INSIDE", "LOGIN", "NEIGHBOUR", "NEIGHBOUR6",
           "PROTECTED", "WEB", "WEB6", "forged", "hping", "nmap"]  # fmt: skip


def hping(*words: str, target: str = WEB, gap_us: int = 100) -> Command:
    """hping3, quiet, a packet each `gap_us` at the most."""
    return ("hping3", "-q", "-n", "-I", "eth0", "-i", f"u{gap_us}", *words, target)


def nmap(*words: str, target: str = WEB) -> Command:
    """nmap, without looking names or hosts up first."""
    return ("nmap", "-n", "-Pn", *words, target)


def forged(kind: str, **given: str | int | float) -> Command:
    """Our own generator."""
    words = tuple(f"{name}={value}" for name, value in given.items())
    return (sys.executable, "-m", "loomidi_lab.redteam.forging", kind, *words)
