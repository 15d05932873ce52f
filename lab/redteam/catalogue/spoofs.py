"""Attacks in the name of others: who is protected, who is in the middle of a conversation, a neighbour. Data only.

Nobody whose name is used may be cut: that is what the attacker is after.
"""

from loomidi_lab.redteam.catalogue.places import (
    CLIENTS,
    ESTABLISHED,
    NEIGHBOUR,
    NEIGHBOUR6,
    PROTECTED,
    WEB,
    forged,
    hping,
)
from loomidi_lab.redteam.records import NOTED, SPARED, Attack, Expect

_FAMILY, _DIRECT = "spoof", "T1498.001"

SPOOFS = (
    Attack(
        "flood-as-protected", _DIRECT, _FAMILY, (hping("-S", "-p", "80", "-a", PROTECTED),), (),
        Expect(("syn_flood",), act=SPARED), seconds=3, says="SYN flood in the name of a protected client",
        forged=(PROTECTED,), needs=("hping3",),
    ),
    Attack(
        "flood-as-established", _DIRECT, _FAMILY, (hping("-S", "-p", "80", "-a", ESTABLISHED),), (),
        Expect(("syn_flood",), act=SPARED), seconds=3, says="SYN flood in the name of an established peer",
        forged=(ESTABLISHED,), needs=("hping3",), short=True,
    ),
    Attack(
        "udp-as-established", _DIRECT, _FAMILY,
        (forged("datagrams", source=CLIENTS[2], target=WEB, seconds=2.5),), (),
        Expect(("udp_flood",), act=SPARED), seconds=6, says="UDP flood in the name of an established peer",
        forged=(CLIENTS[2],),
    ),
    Attack(
        "scan-as-established", "T1046", _FAMILY,
        (forged("scan_down", source=ESTABLISHED, target=WEB, seconds=4, pps=300),), (),
        Expect(("vertical_scan",), act=SPARED), seconds=6, says="SYN scan in the name of an established peer",
        forged=(ESTABLISHED,),
    ),
    Attack(
        "sweep-as-established", "T1046", _FAMILY,
        (forged("scan_across", source=ESTABLISHED, network="198.51.100.0/24", seconds=4, pps=200),), (),
        Expect(("horizontal_scan",), act=SPARED), seconds=6, says="scan of 256 hosts in the name of such a peer",
        forged=(ESTABLISHED,),
    ),
    Attack(
        "tunnel-as-established", "T1071.004", _FAMILY,
        (forged("forged_questions", source=CLIENTS[3], target=WEB, seconds=8, pps=25),), (),
        Expect(("exfiltration",), act=SPARED, within_s=15), seconds=12,
        says="tunnel questions in the name of an established peer", forged=(CLIENTS[3],),
    ),
    Attack(
        "arp-spoofing", "T1557.002", _FAMILY, (("arpspoof", "-i", "eth0", "-t", "203.0.113.1", NEIGHBOUR),), (),
        Expect(("neighbour_spoofing",), act=NOTED),
        seconds=7, says="ARP answers in the name of a neighbour", forged=(NEIGHBOUR,), present=(NEIGHBOUR,),
        needs=("arpspoof",), arp=True,
    ),
    Attack(
        "arp-spoofing-absent", "T1557.002", _FAMILY, (("arpspoof", "-i", "eth0", "-t", "203.0.113.1", NEIGHBOUR),), (),
        Expect(("neighbour_spoofing",), act=NOTED, within_s=6),
        seconds=7, says="the same for an address that nobody has heard of", forged=(NEIGHBOUR,),
        needs=("arpspoof",), arp=True,
    ),
    Attack(
        "nd-spoofing", "T1557", _FAMILY,
        (("atk6-fake_advertise6", "-n", "10", "-w", "1", "eth0", NEIGHBOUR6, "ff02::1"),), (),
        Expect(("neighbour_spoofing",), act=NOTED),
        seconds=7, says="neighbour advertisements in the name of another", forged=(NEIGHBOUR6,), present=(NEIGHBOUR6,),
        needs=("atk6-fake_advertise6",), arp=True,
    ),
)  # fmt: skip
