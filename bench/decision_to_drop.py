"""Decision -> first drop and first attack packet -> first drop, through the real fast lane and real XDP.

In network namespaces as `loomidi demo` builds them (attacker -> bridge -> veth with native XDP -> services). Each trial
is a SYN flood from an address that nobody has seen before; benign clients go on meanwhile.
What is stamped, all on CLOCK_MONOTONIC of this machine:

  first packet   by the generator, just before it hands the first frame to the kernel
  crossing       by the XDP program, the packet that crossed the threshold
  decision       by the lane, when every guard has allowed the plan and before anything is written
  first drop     by the XDP program in the entry, when it drops its first packet

decision -> first drop thus holds the check of the approval, the system call that writes the entry, and the wait for the
next packet of the flood. While trials run the lane drops at once (not staged), so the first hit is the first drop.
`under changes` is under flood while 1,000 entries a second come and go beside the lane, in the same process. A trial
floods until the lane has acted, and 20 ms longer; idle at 20,000 packets/s, `under flood` at the generator's
full rate with nine of ten frames from another source that is blocked already. A trial that was not acted on within a
second is in no percentile; how many there were stands beside them.

The floor in the same run: one bare write of an entry while its source floods, until its first drop. Nothing that blocks
by a map entry can be faster. Generator and lane have a CPU each where there are two: an attacker is another machine.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loomidi.services.demo.stage import Attacker, Defender, People, Spread, apart, unaccounted
from loomidi.services.demo.testbed import ATTACKERS, CLIENTS, WEB, Network, sweep
from loomidi.services.demo.trials import PPS, Trials, fresh_sources, run_trials

CHANGES = 1000  # entries a second that come and go
BATCH = 50  # trials in one order
FLOOR_TRIALS = 200
AFTER_S = 0.015  # into its flood, when the bare entry is written


def merged(parts: list[Trials], name: str) -> Spread:
    """Percentiles over the trials of all batches."""
    return Spread.of([value for part in parts for value in part.raw[name]])


def measure(attacker: Attacker, defender: Defender, trials: int, start: int, beside: str = "") -> list[Trials]:
    """So many trials in batches, from the `start`-th address on."""
    rounds = range(start, start + trials, BATCH)
    return [run_trials(attacker, defender, fresh_sources(at, min(BATCH, start + trials - at)), beside) for at in rounds]


def floor(network: Network, folder: Path, cpus: tuple[int, int], trials: int) -> Spread:
    """A bare write while its source floods; the lane of this defender is in mode shadow and touches nothing."""
    defender = Defender(network, {"receipts": str(folder / "floor.sqlite"), "mode": "shadow", "cpu": cpus[1]})
    attacker = Attacker(network, cpu=cpus[0])
    took = []
    for source in fresh_sources(60_000, trials):
        order = {"do": "flood", "kind": "syn_flood", "source": source, "target": WEB, "port": 80}
        attacker.tell(order | {"seconds": 0.08, "pps": PPS})
        time.sleep(AFTER_S)
        written = defender.ask({"do": "floor", "source": source})
        attacker.line()
        entry = defender.entry(source)
        if entry and entry["first_hit_ns"]:
            took.append(entry["first_hit_ns"] - defender.ready["offset_ns"] - written["at_ns"])
    defender.end()
    return Spread.of(took)


def figures(network: Network, folder: Path, trials: int) -> dict[str, Any]:
    """Floor, idle, under flood."""
    cpus = apart()
    bare = floor(network, folder, cpus, min(trials, FLOOR_TRIALS))
    config = {
        "receipts": str(folder / "receipts.sqlite"),
        "protected": CLIENTS[:1],
        "cpu": cpus[1],
        "longest_ttl_s": 120,
    }
    defender, attacker, people = Defender(network, config), Attacker(network, cpu=cpus[0]), People(network, 2.0)
    time.sleep(1)
    idle = measure(attacker, defender, trials, 0)
    blocked = {"do": "flood", "kind": "udp_flood", "source": ATTACKERS[15], "target": WEB, "port": 80, "seconds": 2.5}
    attacker.does(blocked)
    flood = measure(attacker, defender, trials, 30_000, ATTACKERS[15])
    before = unaccounted(network, defender)
    defender.ask({"do": "churn", "per_s": CHANGES})
    attacker.does(blocked)
    changes = measure(attacker, defender, trials, 45_000, ATTACKERS[15])
    changed = defender.ask({"do": "churn", "per_s": 0})["changed"]
    benign = people.finish()
    return {
        "rung": defender.ready["rung"],
        "changes": _plain(merged(changes, "decision_to_drop"), _missed(changes)) | {"changed": changed},
        "unaccounted": unaccounted(network, defender) - before,
        "floor": _plain(bare, 0),
        **{f"{name}": _plain(merged(parts, "decision_to_drop"), _missed(parts)) for name, parts in _named(idle, flood)},
        "first_packet": _plain(merged(idle, "first_packet_to_drop"), _missed(idle)),
        "first_packet_flood": _plain(merged(flood, "first_packet_to_drop"), _missed(flood)),
        "crossing": _plain(merged(idle, "crossing_to_decision"), _missed(idle)),
        "benign": benign,
    }


def _named(idle: list[Trials], flood: list[Trials]) -> tuple[tuple[str, list[Trials]], ...]:
    return ("idle", idle), ("flood", flood)


def _missed(parts: list[Trials]) -> int:
    return sum(part.unblocked for part in parts)


def _plain(spread: Spread, unblocked: int) -> dict[str, float]:
    return {"p50_ms": spread.p50, "p99_ms": spread.p99, "trials": spread.trials, "unblocked": unblocked}


def show(found: dict[str, Any]) -> None:
    """The table for people."""
    rows = (
        ("floor: bare map write -> first drop", "floor", ""),
        ("decision -> first drop, idle", "idle", "p50 <= 0.5, p99 <= 5"),
        ("decision -> first drop, under flood", "flood", "p50 <= 0.5, p99 <= 15"),
        ("decision -> first drop, under flood and changes", "changes", "p99 <= 15"),
        ("first packet -> first drop, idle", "first_packet", "p50 <= 20"),
        ("first packet -> first drop, under flood", "first_packet_flood", ""),
        ("threshold crossed -> decision, idle", "crossing", ""),
    )
    print(f"rung {found['rung']}, milliseconds{'':22} {'p50':>8} {'p99':>8} {'trials':>7} {'undropped':>10}  target")
    for title, name, target in rows:
        row = found[name]
        print(
            f"{title:<50} {row['p50_ms']:8.3f} {row['p99_ms']:8.3f} {row['trials']:7} {row['unblocked']:10}  {target}"
        )
    print(f"{found['changes']['changed']:,} entries changed meanwhile; packets in no counter: {found['unaccounted']}")
    print(f"benign requests meanwhile: {found['benign']['sent']} sent, {found['benign']['lost']} lost")


def main() -> int:
    """Exit code 2 without root."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("decision_to_drop: needs root (network namespaces, XDP); run: sudo make bench", file=sys.stderr)
        return 2
    sweep()
    with tempfile.TemporaryDirectory() as folder, Network() as network:
        found = figures(network, Path(folder), given.trials)
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
