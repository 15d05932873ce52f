"""Who claims whose address: what is told, what is not, whom to ask, and that memory is bounded."""

import json

import pytest

from loomidi.contracts import Finding, Severity
from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, ROUTER, NeighbourWord
from loomidi.origami.online import Neighbours, NeighbourSettings

SECOND, START = 1_000_000_000, 1_700_000_000_000_000_000
HOLDER, LIAR, US = "02:00:00:00:00:0a", "02:00:00:00:00:66", "02:00:00:00:00:01"
ADDRESS, OURS, GATEWAY = "192.0.2.18", "192.0.2.1", "192.0.2.254"


def word(seconds: float, kind: str, address: str, link: str, about: str = "", **more: object) -> NeighbourWord:
    base = NeighbourWord(START + round(seconds * SECOND), kind, address, link, about, sender=link)
    return base._replace(**more)


def answer(seconds: float, link: str, address: str = ADDRESS) -> NeighbourWord:
    return word(seconds, ANSWER, address, link, OURS)


def question(seconds: float, address: str = ADDRESS) -> NeighbourWord:
    return word(seconds, ASK, OURS, US, address, own=True)


def probe(seconds: float, address: str = ADDRESS) -> NeighbourWord:
    """Of our own: it names no sender."""
    return NeighbourWord(START + round(seconds * SECOND), ASK, "", "", address, sender=US, own=True)


def told(*words: NeighbourWord, neighbours: Neighbours | None = None) -> list[Finding]:
    detector = neighbours or Neighbours()
    return [finding for one in words for finding in detector.observe([one])]


def how(finding: Finding) -> object:
    return next(fact.value for fact in finding.evidence if fact.name == "how")


def test_a_holder_that_answers_our_question_proves_the_claim_false() -> None:
    neighbours = Neighbours()
    assert told(question(0), answer(0.01, HOLDER), answer(9, LIAR), neighbours=neighbours) == []
    assert neighbours.questions() == [(ADDRESS, HOLDER)]
    assert neighbours.questions() == []
    (finding,) = told(probe(9.1), word(9.2, ANSWER, ADDRESS, HOLDER), neighbours=neighbours)
    assert (how(finding), finding.severity, finding.confidence) == ("contested", Severity.HIGH, 0.95)
    assert finding.entities == (f"host/{ADDRESS}",)
    assert finding.techniques == ("T1557.002",)
    assert {fact.value for fact in finding.evidence if fact.name == "claimed_by"} == {LIAR}


def test_a_holder_that_has_gone_does_not_answer_and_the_move_is_told_as_info_once_it_has_settled() -> None:
    neighbours = Neighbours()
    assert told(question(0), answer(0.01, HOLDER), word(9, ANNOUNCE, ADDRESS, LIAR), neighbours=neighbours) == []
    assert neighbours.look(START + 20 * SECOND) == []
    (finding,) = neighbours.look(START + 40 * SECOND)
    assert (how(finding), finding.severity) == ("moved", Severity.INFO)
    assert neighbours.look(START + 41 * SECOND) == []


def test_an_announcement_of_the_holder_is_no_answer_to_our_question() -> None:
    """A fail-over and back within seconds: the one that came back announces itself, as it does at each start."""
    moves = (word(9, ANNOUNCE, ADDRESS, LIAR), probe(9.1), word(11, ANNOUNCE, ADDRESS, HOLDER))
    assert told(question(0), answer(0.01, HOLDER), *moves) == []


def test_two_that_take_the_address_from_each_other_are_told_without_any_question_of_ours() -> None:
    turns = [word(10 + 5 * turn, ANNOUNCE, ADDRESS, (LIAR, HOLDER)[turn % 2]) for turn in range(3)]
    assert told(word(0, ASK, ADDRESS, HOLDER, OURS), *turns[:2]) == []
    (finding,) = told(word(0, ASK, ADDRESS, HOLDER, OURS), *turns)
    assert (how(finding), finding.severity) == ("contested", Severity.HIGH)


def test_answers_that_nobody_asked_for_are_told_when_they_go_on() -> None:
    (finding,) = told(*(answer(2 * turn, LIAR) for turn in range(3)))
    assert (how(finding), finding.severity) == ("pushed", Severity.MEDIUM)
    (worse,) = told(question(-9), answer(-8.9, HOLDER), *(answer(2 * turn, LIAR) for turn in range(3)))
    assert (how(worse), worse.severity) == ("pushed", Severity.HIGH)


def test_answers_to_questions_and_bursts_of_a_moment_are_not() -> None:
    assert told(*(one for turn in range(9) for one in (question(turn), answer(turn + 0.1, LIAR)))) == []
    assert told(*(answer(0.05 * turn, LIAR) for turn in range(6))) == []


def test_a_question_that_somebody_else_forges_in_our_name_asks_for_nothing() -> None:
    forged = [word(2 * turn - 0.1, ASK, OURS, US, ADDRESS, sender=LIAR) for turn in range(3)]
    pairs = [one for turn in range(3) for one in (forged[turn], answer(2 * turn, LIAR))]
    assert [how(finding) for finding in told(question(-9, "192.0.2.99"), *pairs)] == ["pushed"]


def test_where_words_were_lost_no_answer_counts_as_unasked() -> None:
    neighbours = Neighbours()
    assert [one for turn in range(5) for one in neighbours.observe([answer(2 * turn, LIAR)], lost=1)] == []


def test_between_others_and_on_tagged_links_nobody_knows_what_was_asked() -> None:
    for more in ({"aside": True}, {"vlan": 7}):
        assert told(*(answer(2 * turn, LIAR)._replace(**more) for turn in range(6))) == []


def test_the_same_address_on_two_vlans_is_two() -> None:
    turns = [word(turn, ASK, ADDRESS, (LIAR, HOLDER)[turn % 2], OURS, vlan=turn % 2) for turn in range(8)]
    assert told(*turns) == []


def test_one_that_takes_the_gateway_and_another_is_told() -> None:
    first = [word(0, ASK, GATEWAY, US, ADDRESS), word(1, ASK, ADDRESS, HOLDER, OURS)]
    taking = [word(9, ANNOUNCE, GATEWAY, LIAR), word(10, ANNOUNCE, ADDRESS, LIAR)]
    assert told(*first, *taking) == []
    (finding,) = told(*first, *taking, neighbours=Neighbours(gateways=[GATEWAY]))
    assert (how(finding), finding.entities) == ("taken", (f"host/{ADDRESS}", f"host/{GATEWAY}"))


def test_a_router_is_a_gateway_and_what_claims_its_address_is_told_as_such() -> None:
    router = "fe80::1"
    lies = [word(9, ROUTER, router, LIAR), word(9.5, ROUTER, router, HOLDER), word(10, ROUTER, router, LIAR)]
    (finding,) = told(word(0, ROUTER, router, HOLDER), *lies)
    assert finding.techniques == ("T1557",)
    assert "gateway" in {fact.name for fact in finding.evidence}


def test_what_does_not_override_replaces_nobody() -> None:
    turns = [
        word(turn, ANNOUNCE, "2001:db8::9", (HOLDER, LIAR)[turn % 2], overrides=turn % 2 == 0) for turn in range(9)
    ]
    assert told(*turns) == []


def test_who_is_one_of_our_own_is_not_asked() -> None:
    neighbours = Neighbours()
    told(word(0, ASK, OURS, US, ADDRESS, own=True), word(5, ANNOUNCE, OURS, LIAR), neighbours=neighbours)
    assert neighbours.questions() == []


def test_the_same_is_told_once_a_minute() -> None:
    lies = [answer(2 * turn, LIAR) for turn in range(70)]
    assert 2 <= len(told(*lies)) <= 3


def test_a_storm_makes_room_and_few_findings_and_says_so() -> None:
    neighbours = Neighbours(NeighbourSettings(addresses=100, links=10, most_told=2))
    names = [f"10.0.{host // 250}.{host % 250}" for host in range(400)]
    assert neighbours.observe([word(0, ASK, name, HOLDER, OURS) for name in names]) == []
    assert neighbours.forgotten == 300
    kept = names[-50:]
    words = [word(1 + turn, ANNOUNCE, name, (LIAR, HOLDER)[turn % 2]) for turn in range(3) for name in kept]
    assert len(neighbours.observe(words)) == 2
    assert neighbours.untold == 48


def test_what_was_learned_outlives_a_restart() -> None:
    before, after = Neighbours(), Neighbours()
    told(word(0, ASK, ADDRESS, HOLDER, OURS), word(9, ANNOUNCE, ADDRESS, LIAR), neighbours=before)
    after.restore(json.loads(json.dumps(before.snapshot())))
    assert after.snapshot() == before.snapshot()
    assert told(word(12, ANNOUNCE, ADDRESS, HOLDER), neighbours=after) == []
    assert [how(one) for one in told(word(15, ANNOUNCE, ADDRESS, LIAR), neighbours=after)] == ["contested"]


def test_a_state_of_another_version_begins_anew() -> None:
    neighbours = Neighbours()
    neighbours.restore({"version": 9, "known": [[0, ADDRESS, {}]]})
    assert neighbours.snapshot()["known"] == []


@pytest.mark.parametrize("silent_s", [601, 90_000])
def test_an_address_whose_holder_is_silent_for_long_is_anybodys(silent_s: int) -> None:
    neighbours = Neighbours()
    told(word(0, ASK, ADDRESS, HOLDER, OURS), word(silent_s, ANNOUNCE, ADDRESS, LIAR), neighbours=neighbours)
    assert neighbours.questions() == []
    assert neighbours.look(START + (silent_s + 99) * SECOND) == []
