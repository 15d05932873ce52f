"""From what was seen of one attack to its row: pure, no clock, no process.

Called by `carrying`. In: the attack's record and a `Seen`. Out: `Measured`, with a line for each expectation that was
missed. Nobody is let off: what was expected is in the record, written before the run.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loomidi_lab.redteam.records import BLOCKED, SPARED, Attack, Benign, Measured
from loomidi_lab.redteam.tapping import count_at

Decision = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What was seen while one attack ran. Times in ns since the epoch."""

    mode: str
    rung: str
    decisions: Sequence[Decision]  # as the defender told them, with `heard_ns`
    first_ns: int  # of the attack's first packet on the link; 0: there was none
    samples: Sequence[tuple[int, int]]  # (when, packets from the attacker so far)
    first_hits: Mapping[str, int]  # source of an entry -> its first hit, 0 for none
    dropped: int  # by the shield, from the first to the last packet
    benign: Sequence[Benign]
    left: Sequence[str]  # sources of entries that are still live after everything was taken back
    balance: bool
    at: int = 0
    said: Sequence[str] = ()


def judge(attack: Attack, seen: Seen) -> Measured:
    """The row of one attack."""
    applied = [str(one["target"]) for one in seen.decisions if one["decision"] == "applied"]
    benign = [dataclasses.replace(one, within=covers(applied, one.address)) for one in seen.benign]
    first = next((one for one in seen.decisions if _told_ns(one) >= seen.first_ns and counts(attack, one)), None)
    hits = (at for source, at in seen.first_hits.items() if at >= seen.first_ns and _culprit(attack, source))
    drop_ns = min(filter(None, hits), default=0)
    names = {*attack.forged, *(one.address for one in seen.benign)}
    mine = set(attack.attackers[:1]) if attack.shares_address else set()
    sent, dropped = _packets(seen), seen.dropped
    row = Measured(
        attack=attack.name,
        family=attack.family,
        technique=attack.technique,
        mode=seen.mode,
        rung=seen.rung,
        detected=first is not None,
        pattern=str(first["pattern"]) if first else "",
        outcome=str(first["decision"]) if first else "",
        finding_s=_after(seen.first_ns, _told_ns(first)) if first else None,
        drop_s=_after(seen.first_ns, drop_ns) if drop_ns else None,
        sent=sent,
        dropped=dropped,
        stood=any(_culprit(attack, source) for source in seen.first_hits),
        blocked_share=_share(seen, drop_ns),
        benign_sent=sum(one.sent for one in benign),
        lost_within=sum(one.lost for one in benign if one.within),
        lost_outside=sum(one.lost for one in benign if not one.within),
        connections_cut=sum(one.cut for one in benign if not one.within),
        collateral=tuple(sorted({one for one in applied if any(covers([one], name) for name in names - mine)})),
        others=tuple(sorted(_about_others(attack, seen, names - mine))),
        entries=len(seen.first_hits),
        undone=len(set(seen.first_hits) - set(seen.left)),
        balance=seen.balance,
        named_miss=attack.expect.missed,
        at=seen.at,
        said=tuple(seen.said),
    )
    return dataclasses.replace(row, failures=tuple(_failures(attack, row, seen.first_ns)))


def counts(attack: Attack, decision: Decision) -> bool:
    """Whether a decision is about this attack: its kind, and who is really at it or whose name is used."""
    if decision["pattern"] not in attack.expect.patterns:
        return False
    entities = [str(entity) for entity in (decision.get("finding") or {}).get("entities", ())]
    if not attack.attackers:
        named = {f"host/{address}" for address in attack.forged}
        return not named or any(entity in named for entity in entities) or entities[:1] == []
    return any(f"host/{address}" in entities for address in attack.attackers) or _service_alone(entities)


def covers(targets: Iterable[str], address: str) -> bool:
    """Whether an act on one of the targets (host/IP, network/CIDR) meets an address."""
    where = ipaddress.ip_address(address)
    for target in targets:
        kind, _, place = target.partition("/")
        if kind in ("host", "network") and where in ipaddress.ip_network(place, strict=False):
            return True
    return False


def _told_ns(decision: Decision) -> int:
    """When the guards had decided; where nothing was decided, when it was heard."""
    return int(decision.get("decided_ns") or decision.get("heard_ns") or 0)


def _service_alone(entities: Sequence[str]) -> bool:
    """A flood of many sources is told of the service."""
    return len(entities) == 1 and entities[0].startswith("service/")


def _culprit(attack: Attack, source: str) -> bool:
    """Whether an entry's source is one of those who did it; a network counts for forged floods."""
    return "/" in source or not attack.attackers or source in attack.attackers


def _about_others(attack: Attack, seen: Seen, names: set[str]) -> set[str]:
    """False findings: about somebody honest whose name was not used."""
    innocent = {f"host/{name}" for name in names - set(attack.forged)}
    told = (one for one in seen.decisions if one["pattern"] and one["decision"] not in ("expired", "undone"))
    return {f"{one['pattern']} {one['target']}" for one in told if one["target"] in innocent}


def _packets(seen: Seen) -> int:
    return seen.samples[-1][1] - seen.samples[0][1] if seen.samples else 0


def _share(seen: Seen, drop_ns: int) -> float | None:
    """Of what came after the first drop. The link's counter is sampled, so it is held to at most 1."""
    if not drop_ns or not seen.samples:
        return None
    after = seen.samples[-1][1] - count_at(list(seen.samples), drop_ns)
    return round(min(seen.dropped / after, 1.0), 3) if after > 0 else None


def _after(first_ns: int, at_ns: int) -> float | None:
    return round((at_ns - first_ns) / 1e9, 4) if first_ns else None


def _failures(attack: Attack, row: Measured, first_ns: int) -> Iterable[str]:
    """Every expectation that was missed, in words."""
    expect = attack.expect
    if not first_ns:
        yield "no packet of the attack was on the link"
    if not row.detected and not expect.missed:
        yield f"not detected ({' or '.join(expect.patterns)})"
    if row.detected and (row.finding_s is None or row.finding_s > expect.within_s):
        yield f"found after {row.finding_s} s, expected within {expect.within_s:g} s"
    if expect.act == BLOCKED and not expect.missed and not row.stood:
        yield "no entry stood against who is at it"
    if row.blocked_share is not None and row.blocked_share < expect.share:
        yield f"{row.blocked_share:.0%} dropped after the first drop, expected {expect.share:.0%}"
    if row.collateral:
        word = "whose name was used" if expect.act == SPARED else "who did nothing"
        yield f"acted on somebody {word}: {', '.join(row.collateral)}"
    yield from _unharmed(row)


def _unharmed(row: Measured) -> Iterable[str]:
    if row.others:
        yield f"findings about people who did nothing: {', '.join(row.others)}"
    if row.lost_outside:
        yield f"{row.lost_outside} of {row.benign_sent} benign requests lost outside the blast radius"
    if row.connections_cut:
        yield f"{row.connections_cut} established connections cut"
    if row.undone != row.entries:
        yield f"{row.entries - row.undone} of {row.entries} entries are still there"
    if not row.balance:
        yield "the balance does not add up"
