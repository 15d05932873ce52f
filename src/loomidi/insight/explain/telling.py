"""Tells one finding as a short story in parts, each part a heading and sentences.

Called through `explain`. In: a finding, what is proposed against it, what guards said, the receipts of what was done.
Out: parts in a fixed order: seen, cause, rule, technique, why, remedy, effect, guards, done, undo. A part without
facts is left out; no placeholder is ever left unfilled.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from loomidi.contracts.records import (
    BlastRadius,
    Evidence,
    Finding,
    FoldKind,
    FoldSpec,
    Match,
    Plan,
    Receipt,
    Step,
    Verdict,
)
from loomidi.insight import wording
from loomidi.insight.explain.phrasing import phrase, technique
from loomidi.insight.explain.replays import replay_told
from loomidi.ionic.decide.radius import MOST_NAMED
from loomidi.ionic.documents import read_plan
from loomidi.ionic.errors import BadPlan

_CAUSE = "root_cause"  # evidence of that name is told apart: who makes the others suffer
_FOLDS_TOLD = 3  # the rest is counted: a finding with many sources has many folds of the same kind


_VERBS = {"rate": "slow down", "scale": "scale out"}  # the other actions are verbs already
Judged = tuple[FoldSpec, Sequence[Verdict]]


class Part(NamedTuple):
    """One heading with its sentences."""

    heading: str
    text: str


def explain(
    finding: Finding,
    folds: Sequence[FoldSpec] = (),
    receipts: Sequence[Receipt] = (),
    *,
    plan: Plan | None = None,
    judged: Sequence[Judged] = (),
) -> str:
    """The whole story as text, one line `heading: sentences` for each part."""
    parts = tell(finding, folds, receipts, plan=plan, judged=judged)
    return "\n".join(f"{part.heading}: {part.text}" for part in parts)


def tell(
    finding: Finding,
    folds: Sequence[FoldSpec] = (),
    receipts: Sequence[Receipt] = (),
    *,
    plan: Plan | None = None,
    judged: Sequence[Judged] = (),
) -> tuple[Part, ...]:
    """The story in parts. Folds are those proposed for this finding, receipts oldest first.

    `plan` is that of the first fold, `judged` holds folds with what the guards said about each. What is not given but
    stands in the receipts (the plan, its fold, the verdicts of its approval) is taken from there.
    """
    words = phrase(finding.pattern)
    plan = plan or _receipted(receipts)
    folds = folds or ([plan.fold] if plan else ())
    intended = not any(receipt.step is Step.APPLIED for receipt in receipts)
    parts = (
        Part("What was seen", _seen(finding)),
        Part("Likely cause", _causes(finding.evidence)),
        Part("By which rule", f"{_sentence(words.rule)} Detector: {wording.printable(finding.source)}."),
        Part("ATT&CK", wording.listing([technique(name) for name in finding.techniques], 9)),
        Part("Why it matters", words.why),
        Part("What would be done" if intended else "What was decided", _remedies(folds)),
        Part("Blast radius", _radius(plan.blast_radius, len(folds)) if plan else ""),
        Part("What the guards said", _guards(judged or [(fold, _approved(receipts)) for fold in folds[:1]])),
        Part("What was done", " ".join(_step(receipt) for receipt in receipts)),
        Part("How it is undone", _undo(folds)),
    )
    return tuple(part for part in parts if part.text)


def _radius(radius: BlastRadius, folds: int) -> str:
    """As it is, and as it would have been of late."""
    return " ".join(part for part in (_reach(radius, folds), replay_told(radius.replay)) if part)


def _seen(finding: Finding) -> str:
    """What, with which figures, who, when."""
    entities = [wording.name(entity) for entity in finding.entities]
    who = f"{entities[0]}, with {wording.listing(entities[1:])}" if len(entities) > 1 else "".join(entities)
    told = [
        f"{phrase(finding.pattern).seen}: {_facts(finding.evidence)}.",
        f"Involved: {who}." if who else "",
        f"It began at {wording.moment(finding.first_ns)} and lasted {wording.span(finding.first_ns, finding.last_ns)}.",
    ]
    return " ".join(sentence for sentence in told if sentence)


def _facts(evidence: Sequence[Evidence]) -> str:
    return "; ".join(fact(item) for item in evidence if not item.name.startswith(_CAUSE)) or "no figures were recorded"


def _causes(evidence: Sequence[Evidence]) -> str:
    """`Most likely workload/shop/db, 71% of the blame, by latency: ... Next: node/n1, ...`: in the order of blame."""
    causes = [item for item in evidence if item.name.startswith(_CAUSE)]
    told = [f"{wording.name(str(item.value))}, {wording.printable(item.meaning)}" for item in causes]
    words = ("Most likely", "Next")
    return " ".join(f"{words[min(at, 1)]}: {_sentence_end(text)}" for at, text in enumerate(told))


def _sentence_end(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def fact(item: Evidence) -> str:
    """`syn rate 5,000 packets/s (limit 200 packets/s)`."""
    told = f"{wording.printable(item.name).replace('_', ' ')} {wording.value(item.value, item.unit)}"
    return told if item.threshold is None else f"{told} (limit {wording.value(item.threshold, item.unit)})"


def _remedies(folds: Sequence[FoldSpec]) -> str:
    told = [remedy(fold) for fold in folds[:_FOLDS_TOLD]]
    if len(folds) > _FOLDS_TOLD:
        told.append(f"And {wording.count(len(folds) - _FOLDS_TOLD)} more of the same kind.")
    return " ".join(told)


# What only the Kubernetes driver does, in words; the rest is told from the packets that are meant.
_FOR_A_TIME = {
    FoldKind.CORDON: "Close {} to new pods",
    FoldKind.RESIZE: "Give {} other resources",
    FoldKind.RESTART: "Restart {} (and once more when that is taken back)",
    FoldKind.ROLLBACK: "Take {} back to its revision before",
}
_FOR_GOOD = {FoldKind.EVICT: "Evict {}, so that its owner makes another", FoldKind.TERMINATE: "End {}"}


def remedy(fold: FoldSpec) -> str:
    """One sentence: what this fold does, to what, for how long."""
    target, ends = wording.name(fold.target), f"for {wording.seconds(fold.ttl_s)}, then it ends by itself"
    if fold.action == "scale" or fold.kind is FoldKind.SCALE_OUT:
        added = wording.plural(fold.replicas, "replica") if fold.replicas else "replicas"
        return f"Add {added} to {target}, {ends}."
    if fold.kind in _FOR_GOOD:
        return f"{_FOR_GOOD[fold.kind].format(target)}, for good: it does not come back."
    if fold.kind in _FOR_A_TIME:
        return f"{_FOR_A_TIME[fold.kind].format(target)}, {ends}."
    if fold.action == "eject":
        return f"Eject endpoints of {target} that keep failing, never more than half of them, {ends}."
    if fold.action == "rate":
        return f"Let through only {wording.count(fold.rate_pps)} per second of {packets(fold.match)}, {ends}."
    if fold.action == "isolate" or fold.kind is FoldKind.ISOLATE_POD:
        return f"Cut {target} off from the network, dropping {packets(fold.match)}, {ends}."
    return f"Drop {packets(fold.match)}, {ends}."


def packets(match: Match) -> str:
    """The packets of a match in words: `the UDP packets from 192.0.2.1 port 53 to 198.51.100.7`."""
    protocol = wording.PROTOCOLS.get(match.protocol, f"protocol {match.protocol}") if match.protocol else ""
    words = [f"the {protocol} packets" if protocol else "the packets"]
    for preposition, address, port in (
        ("from", match.source, match.source_port),
        ("to", match.destination, match.destination_port),
    ):
        place = " ".join([wording.printable(address)] * bool(address) + [f"port {port}"] * bool(port))
        words += [f"{preposition} {place}"] if place else []
    return " ".join(words)


def _reach(radius: BlastRadius, folds: int) -> str:
    if not radius.peers:
        return "It cuts no traffic."
    hosts = wording.plural(radius.peers, "peer")
    cut = f"{wording.plural(radius.flows, 'flow')}, {wording.plural(radius.packets, 'packet')}"
    which = "the first of them" if folds > 1 else "it"
    told = f"On the traffic seen {which} would touch {hosts}: {cut}, {wording.octets_exactly(radius.octets)}"
    told += f", {radius.share_of_octets:.1%} of all octets."
    if radius.bystanders:
        told += f" Bystanders: {bystanders(radius)}."
    else:
        told += " Nobody else would be touched."
    if radius.protected:
        told += f" It would touch the protected set: {wording.listing([wording.name(p) for p in radius.protected])}."
    return told


def bystanders(radius: BlastRadius) -> str:
    """Who else would be met; deciding names at most `MOST_NAMED` of them, so from there on the number is a least."""
    named = [wording.name(entity) for entity in radius.bystanders]
    told = wording.listing(named)
    return told.replace(" and ", " and at least ", 1) if len(named) >= MOST_NAMED else told


def _guards(judged: Sequence[Judged]) -> str:
    """Who allowed; for each fold that was refused, by which rule and why."""
    asked = [(fold, verdicts) for fold, verdicts in judged if verdicts]
    if not asked:
        return ""
    refused = [(fold, [v for v in verdicts if v.allow is not True]) for fold, verdicts in asked]
    refused = [(fold, against) for fold, against in refused if against]
    what = "Allowed" if len(asked) == 1 else f"All {len(asked)} allowed"
    guards = wording.listing(list(dict.fromkeys(wording.printable(v.guard) for v in asked[0][1])), 9)
    if not refused:
        return f"{what} by all {wording.plural(len(asked[0][1]), 'rule')} of {guards}."
    told = [
        f"Refused to {_VERBS.get(fold.action, fold.action)} {wording.name(fold.target)}: {_against(against)}."
        for fold, against in refused
    ]
    rest = len(asked) - len(refused)
    return " ".join(
        [*told[:_FOLDS_TOLD], *([f"The other {rest} {'is' if rest == 1 else 'are'} allowed."] if rest else [])]
    )


def _against(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(f"{wording.printable(v.guard)}/{wording.printable(v.rule)} {_answer(v)}" for v in verdicts)


def _answer(verdict: Verdict) -> str:
    no = "denied" if verdict.allow is False else "gave no answer, which counts as denial"
    return f"{no} ({wording.printable(verdict.reason).rstrip('.')})" if verdict.reason else no


def _approved(receipts: Sequence[Receipt]) -> tuple[Verdict, ...]:
    """The verdicts that the intent receipt carries in its approval, if any."""
    for receipt in receipts:
        stored = _inside(receipt.detail, "approval", "verdicts")
        if isinstance(stored, (list, tuple)):
            return tuple(Verdict(**item) for item in stored if isinstance(item, Mapping))
    return ()


def _receipted(receipts: Sequence[Receipt]) -> Plan | None:
    """The plan that the first receipt holds; None when it holds none that can be read."""
    for receipt in receipts:
        if "plan" in receipt.detail:
            try:
                return read_plan(receipt.detail["plan"])
            except BadPlan:
                return None
    return None


def _inside(mapping: Mapping[str, Any], *path: str) -> Any:
    found: Any = mapping
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _step(receipt: Receipt) -> str:
    """One sentence for one receipt."""
    at, driver = wording.moment(receipt.at_ns), wording.printable(receipt.driver)
    if receipt.step is Step.INTENT:
        return f"At {at} the intent and its inverse were recorded for driver {driver} ({receipt.id})."
    if receipt.step is Step.APPLIED:
        return f"At {at} {driver} applied it ({receipt.id})."
    if receipt.step is Step.VERIFIED:
        told = "measured and does not hold" if receipt.detail.get("holds") is False else "verified by measurement"
        return f"At {at} it was {told}{_measured(receipt.detail)} ({receipt.id})."
    if receipt.step is Step.UNDONE:
        return f"At {at} {driver} undid it and checked that it is gone{_because(receipt)}."
    if receipt.step is Step.EXPIRED:
        return f"At {at} it ended{_because(receipt)}."
    if receipt.step is Step.EXTENDING:
        return f"At {at} a later end was asked for and recorded ({receipt.id})."
    if receipt.step is Step.EXTENDED:
        return f"At {at} {driver} moved its end ({receipt.id})."
    what = "nothing was touched" if receipt.step is Step.REFUSED else f"{driver} failed, it will be tried again"
    return f"At {at} {what}{_because(receipt)}."


def _because(receipt: Receipt) -> str:
    """The reason and the receipt: `: its time is over (receipt-...)`."""
    reason = receipt.detail.get("error") or receipt.detail.get("why") or ""
    return f"{f': {wording.printable(str(reason))}' if reason else ''} ({receipt.id})"


def _measured(detail: Mapping[str, Any]) -> str:
    figures = [
        f"{wording.printable(str(key)).replace('_', ' ')} {wording.value(number)}"
        for key, number in detail.items()
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not str(key).endswith("_ns")
    ]
    return f": {', '.join(figures[:4])}" if figures else ""


def _undo(folds: Sequence[FoldSpec]) -> str:
    told = dict.fromkeys(_sentence(fold.undo or _undo_by_kind(fold)) for fold in folds[:_FOLDS_TOLD])
    return " ".join(told)


def _undo_by_kind(fold: FoldSpec) -> str:
    if fold.kind is FoldKind.SCALE_OUT:
        return "scale back to the number of replicas that the receipt recorded"
    if fold.kind in _FOR_GOOD:
        return "there is no way back: the pod is gone, its owner (if any) makes another"
    if fold.kind in _FOR_A_TIME:
        return "put back what the receipt recorded, where nobody has changed it since"
    return "remove the entry (or the NetworkPolicy); nothing else was changed, and it ends by itself anyway"


def _sentence(text: str) -> str:
    """First letter large, a full stop at the end, nothing that a terminal would obey."""
    clean = wording.printable(text).strip()
    return clean[:1].upper() + clean[1:] + ("" if clean.endswith((".", "!", "?")) else ".") if clean else ""
