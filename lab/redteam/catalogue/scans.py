"""Scans, and the ways to hide one: stealth flags, fragments, decoys, source ports, patience. Data only."""

from loomidi_lab.redteam.catalogue.places import ATTACKER, ATTACKER6, CLIENTS, WEB, WEB6, forged, nmap
from loomidi_lab.redteam.records import Attack, Expect

_SCAN, _EVASION, _TECHNIQUE = "scan", "evasion", "T1046"
_DOWN, _ACROSS = ("vertical_scan",), ("horizontal_scan",)
_ANY = ("vertical_scan", "horizontal_scan", "tcp_flag_flood", "syn_flood")
_FAST = ("-T4", "--max-retries", "0")

SCANS = (
    Attack(
        "scan-syn", _TECHNIQUE, _SCAN, (nmap("-sS", *_FAST, "-p", "1-1024"),), (ATTACKER,),
        Expect(_DOWN, within_s=1), seconds=8, says="nmap -sS", needs=("nmap",), short=True,
    ),
    Attack(
        "scan-connect", _TECHNIQUE, _SCAN, (nmap("-sT", *_FAST, "-p", "1-1024"),), (ATTACKER,),
        Expect(_DOWN, within_s=1), seconds=8, says="nmap -sT", needs=("nmap",),
    ),
    Attack(
        "scan-udp", _TECHNIQUE, _SCAN, (nmap("-sU", *_FAST, "--top-ports", "200"),), (ATTACKER,),
        Expect(_DOWN, within_s=2), seconds=8, says="nmap -sU", needs=("nmap",),
    ),
    Attack(
        "scan-fin", _TECHNIQUE, _SCAN, (nmap("-sF", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect((*_DOWN, "tcp_flag_flood"), within_s=8), seconds=8, says="nmap -sF", needs=("nmap",),
    ),
    Attack(
        "scan-xmas", _TECHNIQUE, _SCAN, (nmap("-sX", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect((*_DOWN, "tcp_flag_flood"), within_s=8), seconds=8, says="nmap -sX", needs=("nmap",),
    ),
    Attack(
        "scan-null", _TECHNIQUE, _SCAN, (nmap("-sN", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect((*_DOWN, "tcp_flag_flood"), within_s=8), seconds=8, says="nmap -sN", needs=("nmap",),
    ),
    Attack(
        "scan-ack", _TECHNIQUE, _SCAN, (nmap("-sA", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect((*_DOWN, "tcp_flag_flood"), within_s=8), seconds=8, says="nmap -sA: what a firewall lets through",
        needs=("nmap",),
    ),
    Attack(
        "scan-version", _TECHNIQUE, _SCAN, (nmap("-sV", *_FAST, "--version-light", "-p", "1-300"),), (ATTACKER,),
        Expect(_DOWN, within_s=1), seconds=10, says="nmap -sV", needs=("nmap",),
    ),
    Attack(
        "scan-6", _TECHNIQUE, _SCAN, (nmap("-6", "-sS", *_FAST, "-p", "1-1024", target=WEB6),), (ATTACKER6,),
        Expect(_DOWN, within_s=1), seconds=8, says="nmap -6 -sS", needs=("nmap",),
    ),
    Attack(
        "scan-hosts", _TECHNIQUE, _SCAN, (nmap("-sS", *_FAST, "-p", "22", target="198.51.100.0/24"),), (ATTACKER,),
        Expect(_ACROSS, within_s=2), seconds=8, says="nmap -sS -p 22 over 256 hosts", needs=("nmap",), short=True,
    ),
    Attack(
        "sweep-echo", "T1018", _SCAN,
        (("nmap", "-n", "-sn", "-PE", "-T4", "--max-retries", "0", "198.51.100.0/24"),), (ATTACKER,),
        Expect(_ACROSS, within_s=8), seconds=8, says="ping sweep over 256 hosts", needs=("nmap",),
    ),
    Attack(
        "scan-polite", _TECHNIQUE, "slow", (nmap("-sS", "-T2", "-p", "1-50"),), (ATTACKER,),
        Expect(_DOWN, within_s=60), seconds=30, says="nmap -T2: a port each 0.4 s", needs=("nmap",),
    ),
    Attack(
        "scan-sneaky", _TECHNIQUE, "slow", (nmap("-sS", "-T1", "--scan-delay", "2500ms", "-p", "1-20"),), (ATTACKER,),
        Expect(_DOWN, within_s=60), seconds=58, says="nmap -T1, a port each 2.5 s", needs=("nmap",),
    ),
    Attack(
        "scan-fragmented", _TECHNIQUE, _EVASION, (nmap("-sS", "-f", *_FAST, "-p", "1-300"),), (ATTACKER,),
        Expect(_ANY, within_s=8), seconds=10, says="nmap -f: 8 octets of TCP a packet", needs=("nmap",),
    ),
    Attack(
        "scan-source-port", _TECHNIQUE, _EVASION, (nmap("-sS", "-g", "53", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect(_DOWN, within_s=8), seconds=8, says="nmap -g 53: as if it were an answer", needs=("nmap",),
    ),
    Attack(
        "scan-udp-source-port", _TECHNIQUE, _EVASION, (nmap("-sU", "-g", "53", *_FAST, "--top-ports", "200"),),
        (ATTACKER,), Expect((*_DOWN, "udp_flood"), within_s=8), seconds=8,
        says="nmap -sU -g 53", needs=("nmap",),
    ),
    Attack(
        "scan-bad-sums", _TECHNIQUE, _EVASION,
        (nmap("-sS", "--badsum", "--ttl", "9", "--data-length", "24", *_FAST, "-p", "1-300"),), (ATTACKER,),
        Expect(_DOWN, within_s=8), seconds=8, says="nmap --badsum --ttl 9 --data-length 24", needs=("nmap",),
    ),
    Attack(
        "scan-decoys", _TECHNIQUE, "spoof",
        (nmap("-sS", "-D", f"{CLIENTS[2]},{CLIENTS[3]},ME", *_FAST, "-p", "1-600"),), (ATTACKER,),
        Expect(_DOWN, within_s=2), seconds=8, says="nmap -D: two honest clients as decoys",
        forged=(CLIENTS[2], CLIENTS[3]), needs=("nmap",), short=True,
    ),
    Attack(
        "tiny-fragments", "T1498.001", _EVASION,
        (forged("tiny_fragments", source=ATTACKER, target=WEB, seconds=3, pps=8000),), (ATTACKER,),
        Expect(("syn_flood", "ip_flood", "tcp_flag_flood"), within_s=8), seconds=7,
        says="SYN flood, the TCP header in two pieces",
    ),
    Attack(
        "overlapping-fragments", "T1498.001", _EVASION,
        (forged("overlapping_fragments", source=ATTACKER, target=WEB, seconds=3, pps=8000),), (ATTACKER,),
        Expect(("syn_flood", "ip_flood", "tcp_flag_flood")), seconds=7, says="SYN flood in fragments that overlap",
    ),
    Attack(
        "small-ttl", "T1499.001", _EVASION, (forged("small_ttl", source=ATTACKER, target=WEB, seconds=2.5),),
        (ATTACKER,), Expect(("syn_flood",), within_s=1), seconds=6, says="SYNs that die before the service",
    ),
)  # fmt: skip
