"""What a lane hears of neighbours: judged in small portions, asked back, told and never acted on."""

from collections.abc import Sequence

from loomidi.contracts import Mode
from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, NeighbourWord
from loomidi.ionic.act import MemoryReceipts
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield
from loomidi.services.fast.neighbouring import Neighbourhood
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fastlane import Decision, FastLane

SECOND, START = 1_000_000_000, 1_700_000_000_000_000_000
ADDRESS, HOLDER, LIAR = "192.0.2.18", "02:00:00:00:00:0a", "02:00:00:00:00:66"


def word(seconds: float, kind: str, link: str, about: str = "") -> NeighbourWord:
    return NeighbourWord(START + round(seconds * SECOND), kind, ADDRESS, link, about, sender=link)


class FakeEar:
    """An ear that hears what it is given; a holder that is there answers its question."""

    def __init__(self, there: Sequence[str] = ()) -> None:
        self.lost = self.odd = 0
        self.waiting: list[NeighbourWord] = []
        self.asked: list[tuple[str, str]] = []
        self.closed = False
        self._there = there

    def heard(self, most: int) -> list[NeighbourWord]:
        words, self.waiting = self.waiting[:most], self.waiting[most:]
        return words

    def ask(self, address: str, link: str) -> bool:
        self.asked.append((address, link))
        question = NeighbourWord(START + 10 * SECOND, ASK, "", "", address, own=True)
        self.waiting += [question] + [word(10.1, ANSWER, link)] * (link in self._there)
        return True

    def close(self) -> None:
        self.closed = True


LIE = (word(0, ASK, HOLDER, "192.0.2.1"), word(9.9, ANNOUNCE, LIAR))


def test_a_holder_that_is_there_is_asked_and_its_answer_is_the_proof() -> None:
    ear = FakeEar(there=[HOLDER])
    ear.waiting = list(LIE)
    hood = Neighbourhood(ear)
    assert hood.findings(START) == []
    (finding,) = hood.findings(START)
    assert finding.entities == (f"host/{ADDRESS}",)
    assert ear.asked == [(ADDRESS, HOLDER)]
    assert hood.figures()["neighbours_asked"] == 1


def test_what_is_left_over_waits_for_the_next_turn() -> None:
    ear = FakeEar()
    ear.waiting = [word(turn, ASK, HOLDER, "192.0.2.1") for turn in range(100)]
    hood = Neighbourhood(ear, most=64)
    assert [hood.findings(START), len(ear.waiting), hood.figures()["neighbour_words"]] == [[], 36, 64]


def test_what_was_lost_is_counted() -> None:
    ear = FakeEar()
    hood = Neighbourhood(ear)
    ear.lost, ear.odd = 7, 2
    hood.findings(START)
    figures = hood.figures()
    assert (figures["neighbour_words_lost"], figures["neighbour_frames_odd"]) == (7, 2)


def test_a_move_that_settles_is_told_when_its_time_is_over() -> None:
    ear = FakeEar()
    ear.waiting = list(LIE)
    hood = Neighbourhood(ear)
    assert hood.findings(START + 10 * SECOND) == []
    assert [finding.severity for finding in hood.findings(START + 60 * SECOND)] == ["info"]


def test_the_lane_tells_it_and_touches_nothing_whatever_its_mode() -> None:
    clock, told = ManualClock(START), list[Decision]()
    shield, store = FakeShield(clock=clock), MemoryReceipts(clock=clock)
    ear = FakeEar(there=[HOLDER])
    ear.waiting = list(LIE)
    lane = FastLane(
        shield, store, FastLaneSettings(mode=Mode.AUTONOMOUS), neighbours=Neighbourhood(ear),
        observers=[told.append], clock=clock,
    )  # fmt: skip
    for _ in range(3):
        clock.sleep(1.0)
        lane.turn()
    lane.close()
    (decision,) = told
    assert (decision.outcome, decision.target, decision.action) == ("noted", f"host/{ADDRESS}", "")
    assert decision.finding is not None
    assert decision.finding.pattern == "neighbour_spoofing"
    assert (shield.entries(), store.all()) == ([], [])
    assert lane.figures()["neighbours_asked"] == 1


def test_a_lie_about_somebody_does_not_keep_the_lane_from_acting_on_that_somebody() -> None:
    """A noted target would rest: then a lie in the name of an attacker would be its shelter."""
    clock = ManualClock(START)
    ear = FakeEar(there=[HOLDER])
    ear.waiting = list(LIE)
    lane = FastLane(
        FakeShield(clock=clock), MemoryReceipts(clock=clock), neighbours=Neighbourhood(ear), clock=clock
    )  # fmt: skip
    for _ in range(3):
        clock.sleep(1.0)
        lane.turn()
    lane.close()
    assert not lane._resting(f"host/{ADDRESS}")
