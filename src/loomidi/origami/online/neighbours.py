"""Who claims whose address on a link: ARP and IPv6 neighbour discovery, word by word.

Called by `services.fast.neighbouring`. In: `NeighbourWord`s in order of time. Out: findings `neighbour_spoofing`, and
whom to ask (`questions`): a holder that another has taken an address from is asked at its own link address whether it
is still there, as RFC 6620 does; one that answers proves the claim false, one that has gone does not answer. Plain
Python, bounded, no I/O. Nobody is to be acted on: the address is a victim's, and a link address is no entity of ours.

    contested  a holder came back (`returns`), or answered our question (`proofs`), after another had taken its address
    pushed     answers that nobody asked for go on and on, by somebody new to the address
    taken      one link address took a gateway's address and another's, each from another holder
    moved      one change that nobody contradicts: told as `info`
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from loomidi.contracts import Evidence, Finding, Severity, content_id
from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, ROUTER, NeighbourWord
from loomidi.garden.graph.names import host_id
from loomidi.origami.online.rules import Rule, load_rules

_ARP, _LATER = "T1557.002", 5_000_000_000  # ns until the same holder is asked again
_FORWARDERS = "00:07:b4:"  # GLBP: the link addresses of one gateway begin with it and its group
_CLAIMANTS, _CHANGES, _TIMES, _NAMED = 4, 8, 8, 8
Key = tuple[int, str]  # VLAN, address


@dataclasses.dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """What is remembered."""

    addresses: int = 4096  # the one that was not heard for longest goes first
    questions: int = 1024  # of others and ours that an answer may belong to
    again_s: float = 60.0  # until the same is told anew about an address
    links: int = 256  # that have taken an address
    most_told: int = 8  # findings of one call; the others are counted as untold


@dataclasses.dataclass(slots=True)
class _Claimant:
    """A link address at one address."""

    link: str
    first_ns: int
    last_ns: int
    pushes: bool = False  # it has claimed more than answers to questions
    own: bool = False  # it is this host's
    answers: list[int] = dataclasses.field(default_factory=list)  # when it answered unasked


@dataclasses.dataclass(slots=True)
class _Address:
    """What is known of one address."""

    holder: str
    claimants: dict[str, _Claimant]
    changes: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)  # when, from, to
    proofs: list[tuple[int, str]] = dataclasses.field(default_factory=list)  # when, who answered us
    router: bool = False
    moved_ns: int = 0  # of a change that is not settled
    asked_ns: int = 0  # of our last question
    told: dict[str, int] = dataclasses.field(default_factory=dict)  # severity -> when


class Neighbours:
    """Judges words. Not thread-safe."""

    def __init__(
        self,
        settings: NeighbourSettings | None = None,
        rules: Mapping[str, Rule] | None = None,
        gateways: Collection[str] = (),
    ) -> None:
        """`gateways`: addresses of this host's gateways; those that advertise themselves are known by that."""
        self._settings = settings or NeighbourSettings()
        self._rule = (rules or load_rules())["neighbour_spoofing"]
        self._limits = self._rule.thresholds
        self._gateways = frozenset(gateways)
        self._known: OrderedDict[Key, _Address] = OrderedDict()
        self._asked: OrderedDict[tuple[int, str, str], int] = OrderedDict()  # VLAN, by whom, about whom -> when
        self._moving: dict[Key, None] = {}  # those whose last change has not settled
        self._deaf_ns = 0
        self._questions: list[tuple[str, str]] = []
        self._took: OrderedDict[tuple[int, str], list[tuple[int, str, str]]] = OrderedDict()  # when, what, from whom
        self.forgotten = self.untold = 0  # addresses that had to make room; findings beyond `most_told`

    def observe(self, words: Iterable[NeighbourWord], lost: int = 0) -> list[Finding]:
        """Findings of these words. `lost`: how many were not heard meanwhile: a question may be among them."""
        found: list[Finding] = []
        for word in words:
            if lost:
                self._deaf_ns = max(self._deaf_ns, word.at_ns + self._ns("asked_s"))
            asked = self._is_asked(word)
            if word.kind == ASK and word.about:
                self._note_question(word)
            if word.address:
                found += self._claimed(word, asked=asked)
        self.untold += max(0, len(found) - self._settings.most_told)
        return found[: self._settings.most_told]

    def look(self, now_ns: int) -> list[Finding]:
        """Changes that nobody has contradicted for `settle_s`, as `info`."""
        found = []
        for key in list(self._moving):
            address = self._known.get(key)
            if address is None or not address.moved_ns:
                del self._moving[key]
            elif now_ns - address.moved_ns >= self._ns("settle_s"):
                at_ns, before, after = address.changes[-1]
                facts = (
                    Evidence("held_before_by", before, None, "", "the link address that had it"),
                    Evidence("settled", self._limits["settle_s"], self._limits["settle_s"], "s", "and nobody objects"),
                )
                found += self._tell("moved", key, after, facts, times=(at_ns, now_ns), sure=(Severity.INFO, 0.5))
                address.moved_ns = 0
        return found

    def questions(self) -> list[tuple[str, str]]:
        """(address, link address) of the holders to ask whether they are still there; each is given once."""
        questions, self._questions = self._questions, []
        return questions

    def snapshot(self) -> dict[str, Any]:
        """What was learned, JSON-able."""
        known = [[*key, dataclasses.asdict(address)] for key, address in self._known.items()]
        return {"version": 1, "known": known}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave; an unknown version starts anew."""
        if state.get("version") == 1:
            kept = state["known"][-self._settings.addresses :]
            self._known = OrderedDict(((int(vlan), str(name)), _restored(one)) for vlan, name, one in kept)
            self._moving = {key: None for key, address in self._known.items() if address.moved_ns}

    # -- questions and answers -------------------------------------------------------------------------------------

    def _is_asked(self, word: NeighbourWord) -> bool:
        """Whether a claim belongs to a question; when some were lost it may."""
        if word.kind not in (ANSWER, ANNOUNCE) or word.own:
            return False
        by = word.about if word.kind == ANSWER else ""
        at_ns = self._asked.get((word.vlan, by, word.address), -self._ns("asked_s"))
        return word.at_ns < self._deaf_ns or word.at_ns - at_ns <= self._ns("asked_s")

    def _note_question(self, word: NeighbourWord) -> None:
        """Believed of ourselves, and of who asks from where it is known to be: others would prepare their answers."""
        known = self._known.get((word.vlan, word.address))
        believed = word.own or (word.address and word.sender == word.link and (not known or known.holder == word.link))
        if believed:
            _remember(self._asked, (word.vlan, word.address, word.about), word.at_ns, self._settings.questions)

    # -- claims ----------------------------------------------------------------------------------------------------

    def _claimed(self, word: NeighbourWord, *, asked: bool) -> list[Finding]:
        key, link, now = (word.vlan, word.address), _one_gateway(word.link), word.at_ns
        address = self._known.get(key)
        if not word.overrides and not (address and link in address.claimants):
            return []  # anycast, a proxy: it replaces nobody; a host that is asked alone answers so as well
        if address is None:
            address = self._known[key] = _Address(link, {link: _Claimant(link, now, now)})
            if len(self._known) > self._settings.addresses:
                self._known.popitem(last=False)
                self.forgotten += 1
        elif link != address.holder:
            self._change(key, address, link, word, asked=asked)
        self._known.move_to_end(key)
        address.router = address.router or word.kind == ROUTER
        claimant = address.claimants[link]
        claimant.last_ns = now
        claimant.own = word.own
        claimant.pushes = claimant.pushes or not (word.kind == ANSWER and asked)
        if word.kind == ANSWER and not (asked or word.own or word.aside or word.vlan):
            claimant.answers = [*claimant.answers[1 - _TIMES :], now]  # others may be asked where we do not hear it
        return self._contested(key, address, now) or self._taken(key, link, now) or self._pushed(key, claimant, now)

    def _change(self, key: Key, address: _Address, link: str, word: NeighbourWord, *, asked: bool) -> None:
        """Another has the address now; who had it is asked, unless it has been silent for long."""
        now, before = word.at_ns, address.claimants[address.holder]
        if now - before.last_ns > self._ns("silent_s"):
            address.claimants, address.changes, address.proofs, address.moved_ns = {}, [], [], 0
        else:
            had = any(former == link for _, former, _ in address.changes)
            ours = now - address.asked_ns <= self._ns("asked_s") and word.kind == ANSWER and asked and not word.aside
            if had and ours:
                address.proofs = [*address.proofs[1 - _CHANGES :], (now, link)]
            address.changes = [*address.changes[1 - _CHANGES :], (now, address.holder, link)]
            address.moved_ns = now
            self._moving[key] = None
            self._note_taken(key, link, address.holder, now)
            if not (key[0] or before.own or before.link.startswith(_FORWARDERS)) and now - address.asked_ns > _LATER:
                address.asked_ns = now
                self._questions.append((key[1], before.link))
        address.holder = link
        if link not in address.claimants:
            address.claimants[link] = _Claimant(link, now, now)
            if len(address.claimants) > _CLAIMANTS:
                oldest = min((one for one in address.claimants.values() if one.link != link), key=lambda c: c.last_ns)
                del address.claimants[oldest.link]

    def _note_taken(self, key: Key, link: str, before: str, now: int) -> None:
        took = self._took.pop((key[0], link), [])
        self._took[key[0], link] = [*took[1 - _NAMED :], (now, key[1], before)]
        if len(self._took) > self._settings.links:
            self._took.popitem(last=False)

    # -- findings --------------------------------------------------------------------------------------------------

    def _contested(self, key: Key, address: _Address, now: int) -> list[Finding]:
        recent = [change for change in address.changes if now - change[0] <= self._ns("window_s")]
        left: set[str] = set()
        returns = 0
        for _, before, after in recent:
            left.add(before)
            returns += after in left
        proofs = sum(now - at <= self._ns("window_s") for at, _ in address.proofs)
        if returns < self._limits["returns"] and proofs < self._limits["proofs"]:
            return []
        links = {link for _, before, after in recent for link in (before, after)} & set(address.claimants)
        newest = max((address.claimants[link] for link in links), key=lambda one: one.first_ns)
        held = min((address.claimants[link] for link in links), key=lambda one: one.first_ns)
        address.moved_ns = 0
        severity = self._rule.severity if newest.pushes else Severity.INFO  # two that only answer: two cards of a host
        facts = (
            Evidence("proofs", proofs, self._limits["proofs"], "", "answers of the holder itself to our question"),
            Evidence("returns", returns, self._limits["returns"], "", "times that a holder came back"),
            Evidence("held_by", held.link, None, "", "the link address that had it first"),
        )
        times = recent[0][0] if recent else now, now
        return self._tell("contested", key, newest.link, facts, times=times, sure=(severity, 0.95 if proofs else 0.85))

    def _taken(self, key: Key, link: str, now: int) -> list[Finding]:
        address = self._known[key]
        if not address.changes or address.changes[-1][0] != now or not address.claimants[link].pushes:
            return []
        since = now - self._ns("window_s")
        took = {name: (at, before) for at, name, before in self._took.get((key[0], link), ()) if at >= since}
        known = {name: one for name in took if (one := self._known.get((key[0], name)))}
        gateway = any(name in self._gateways or one.router for name, one in known.items())
        formers = {before for _, before in took.values()}
        if not gateway or min(len(took), len(formers)) < self._limits["taken"]:
            return []
        meaning = "addresses of different holders, a gateway's among them"
        facts = (Evidence("taken", len(took), self._limits["taken"], "", meaning),)
        times = min(at for at, _ in took.values()), now
        return self._tell("taken", key, link, facts, times=times, sure=(self._rule.severity, 0.8), others=took)

    def _pushed(self, key: Key, claimant: _Claimant, now: int) -> list[Finding]:
        times = [at for at in claimant.answers if now - at <= self._ns("window_s")]
        fresh = now - claimant.first_ns <= self._ns("fresh_s")
        enough = len(times) >= self._limits["answers"] and times[-1] - times[0] >= self._ns("answers_span_s")
        if not (fresh and enough):
            return []
        address = self._known[key]
        rival = next((one for one in address.claimants.values() if one is not claimant), None)
        facts = (
            Evidence("unasked_answers", len(times), self._limits["answers"], "", "that nobody had asked for"),
            Evidence("held_by", rival.link if rival else "nobody known", None, "", "the link address that had it"),
        )
        sure = (self._rule.severity, 0.85) if rival else (Severity.MEDIUM, 0.7)
        return self._tell("pushed", key, claimant.link, facts, times=(times[0], now), sure=sure)

    def _tell(
        self, how: str, key: Key, link: str, facts: tuple[Evidence, ...], *, times: tuple[int, int],
        sure: tuple[Severity, float], others: Iterable[str] = (),
    ) -> list[Finding]:  # fmt: skip
        """The finding, unless the same or worse was told about this address of late."""
        (first_ns, now), (severity, confidence), address = times, sure, self._known[key]
        again = round(self._settings.again_s * 1e9)
        ranks = list(Severity)
        if any(
            now - at < again and ranks.index(Severity(one)) >= ranks.index(severity) for one, at in address.told.items()
        ):
            return []
        address.told[severity.value] = now
        names = list(dict.fromkeys((key[1], *others)))[:_NAMED]
        shown = [name for (vlan, name), one in self._known.items() if vlan == key[0] and one.holder == link]
        own = ", ".join([name for name in shown if name not in names][:_NAMED]) or "nothing else"
        who = (
            Evidence("claimed_by", link, None, "", "the link address that claims it now"),
            Evidence("claimant_also_has", own, None, "", "addresses that the same link address has"),
        )
        router = address.router or key[1] in self._gateways
        gateway = (Evidence("gateway", key[1], None, "", "everything that leaves goes there"),) if router else ()
        is_arp = "." in key[1]
        return [
            Finding(
                id=content_id("finding", f"neighbour_spoofing {how} {key} {link} {first_ns}"),
                pattern=self._rule.pattern,
                techniques=tuple(one for one in self._rule.techniques if (one == _ARP) == is_arp),
                severity=severity,
                confidence=confidence,
                entities=tuple(host_id(name) for name in names),
                first_ns=first_ns,
                last_ns=now,
                evidence=(Evidence("how", how), *facts, *who, *gateway),
                source="origami.online.neighbours",
            )
        ]

    def _ns(self, name: str) -> int:
        return round(self._limits[name] * 1e9)


def _one_gateway(link: str) -> str:
    """The link address; of GLBP's forwarders, which take turns, what they share."""
    return link[: len("00:07:b4:00:01")] if link.startswith(_FORWARDERS) else link


def _restored(state: Mapping[str, Any]) -> _Address:
    fields = dict(state)
    fields["claimants"] = {link: _Claimant(**one) for link, one in state["claimants"].items()}
    fields["changes"] = [(int(at), before, after) for at, before, after in state["changes"]]
    fields["proofs"] = [(int(at), link) for at, link in state["proofs"]]
    return _Address(**fields)


def _remember(kept: OrderedDict[Any, int], key: Any, at_ns: int, most: int) -> None:
    kept[key] = at_ns
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
