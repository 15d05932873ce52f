"""Repeated short floods, each from a fresh source: how long from the first packet, and from the decision, to the drop.

Called by the story and by `bench/decision_to_drop.py`. In: a running attacker and defender. Out: `Trials`. What is
stamped by whom, all on CLOCK_MONOTONIC of one machine: the first packet by the generator just before it hands the frame
to the kernel; the decision by the lane when every guard has allowed it, before the entry is written; the first drop by
the XDP program, in the entry, when it drops its first packet. While trials run the lane drops at once instead of
slowing down first, so that the first hit of an entry is its first drop; a staged entry lets its burst (2 packets for a
SYN flood) pass before.
"""

import dataclasses
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence

from loomidi.services.demo.stage import Attacker, Defender, Message, Spread
from loomidi.services.demo.testbed import TRIALS, WEB

LONGEST_S = 1.0  # a flood ends when it was acted on, and at the latest then
PPS = 20_000  # of one trial's flood: dense enough to time by, and generator and services are not busy with themselves


@dataclasses.dataclass(frozen=True, slots=True)
class Trials:
    """What came out. Times in ms."""

    decision_to_drop: Spread
    first_packet_to_drop: Spread
    crossing_to_decision: Spread  # from the packet that crossed the threshold to the guards' yes
    tried: int
    unblocked: int  # trials that ended without a drop: in no percentile, so always told beside them
    sent: int  # frames
    sources: tuple[str, ...]
    raw: Mapping[str, Sequence[int]]  # ns of every trial in the percentiles, by the name of the figure


def fresh_sources(start: int, count: int) -> list[str]:
    """Addresses that no trial has used, from the `start`-th on."""
    base = int(ipaddress.ip_network(TRIALS).network_address)
    return [str(ipaddress.IPv4Address(base + 1 + start + number)) for number in range(count)]


def run_trials(attacker: Attacker, defender: Defender, sources: list[str], beside: str = "") -> Trials:
    """One short SYN flood per source, one after the other. `beside`: a source that floods at full rate meanwhile."""
    defender.ask({"do": "staged", "value": False})
    order = {
        "do": "trial",
        "target": WEB,
        "port": 80,
        "beside": beside,
        "seconds": LONGEST_S,
        "pps": 0 if beside else PPS,
    }
    sent = [_trial(attacker, defender, order | {"source": source}) for source in sources]
    entries = {entry["source"]: entry for entry in defender.ask({"do": "entries"})["entries"]}
    defender.ask({"do": "staged", "value": True})
    return _sorted_out(sent, entries, defender)


def _trial(attacker: Attacker, defender: Defender, order: Message) -> Message:
    """Flood until the defender has acted on the source."""
    attacker.tell(order)
    defender.wait_applied(f"host/{order['source']}", LONGEST_S)
    attacker.tell({"do": "stop"})
    done: Message = json.loads(attacker.line())
    return done


def _sorted_out(trials: list[Message], entries: dict[str, Message], defender: Defender) -> Trials:
    decided = defender.applied
    offset = defender.ready["offset_ns"]
    rows = list(_blocked(trials, entries, decided))
    raw = {
        "decision_to_drop": [entry["first_hit_ns"] - made["decided_ns"] for _, entry, made in rows],
        "first_packet_to_drop": [entry["first_hit_ns"] - offset - sent["first_ns"] for sent, entry, _ in rows],
        "crossing_to_decision": [made["decided_ns"] - made["seen_ns"] for _, _, made in rows],
    }
    return Trials(
        decision_to_drop=Spread.of(raw["decision_to_drop"]),
        first_packet_to_drop=Spread.of(raw["first_packet_to_drop"]),
        crossing_to_decision=Spread.of(raw["crossing_to_decision"]),
        raw=raw,
        tried=len(trials),
        unblocked=len(trials) - len(rows),
        sent=sum(trial["sent"] for trial in trials),
        sources=tuple(trial["source"] for trial in trials),
    )


def _blocked(
    trials: list[Message], entries: dict[str, Message], decided: dict[str, Message]
) -> Iterator[tuple[Message, Message, Message]]:
    for trial in trials:
        entry, made = entries.get(trial["source"]), decided.get(f"host/{trial['source']}")
        if entry and made and entry["first_hit_ns"]:
            yield trial, entry, made
