"""The life of a Fold, as a table."""

from loomidi.fold.resources import JUDGED, MEANING, NEXT, OPEN, TERMINAL, TOUCHING, Phase
from loomidi.fold.resources.phases import BEGUN, FIRST, WRITTEN

GOOD = ["Proposed", "Guarded", "Approved", "Applying", "Verifying", "Active"]
ENDS = ["Released", "RolledBack", "Expired", "Denied", "Superseded"]


def reached(phase: Phase) -> set[Phase]:
    """Every phase that can come after one."""
    found: set[Phase] = set()
    left = [phase]
    while left:
        new = set(NEXT[left.pop()]) - found
        found |= new
        left += new
    return found


def test_the_phases_are_those_of_the_design() -> None:
    assert list(Phase) == [*GOOD, *ENDS]
    assert list(TERMINAL) == ENDS


def test_every_phase_has_its_successors_and_a_meaning() -> None:
    assert set(NEXT) == set(MEANING) == set(Phase)


def test_a_good_life_goes_step_by_step_and_skips_nothing() -> None:
    for phase in map(Phase, GOOD):
        ahead = [after for after in NEXT[phase] if after not in TERMINAL]
        assert ahead == [Phase(name) for name in GOOD[GOOD.index(phase) + 1 : GOOD.index(phase) + 2]]


def test_every_phase_is_reached_and_leads_to_an_end() -> None:
    assert reached(Phase.PROPOSED) | {Phase.PROPOSED} == set(Phase)
    for phase in set(Phase) - set(TERMINAL):
        assert reached(phase) & set(TERMINAL)


def test_nothing_goes_back() -> None:
    assert [phase for phase in Phase if phase in reached(phase)] == []


def test_what_was_never_applied_is_not_released_and_what_was_is_not_denied() -> None:
    for phase in (Phase.PROPOSED, Phase.GUARDED, Phase.APPROVED):
        assert not {Phase.RELEASED, Phase.ROLLED_BACK} & set(NEXT[phase])
    for phase in (Phase.APPLYING, Phase.VERIFYING, Phase.ACTIVE):
        assert not {Phase.DENIED, Phase.EXPIRED} & set(NEXT[phase])


def test_the_spec_is_open_only_before_anything_is_allowed() -> None:
    assert set(OPEN) | set(TOUCHING) | set(TERMINAL) == set(Phase)
    assert not set(OPEN) & set(TOUCHING)
    assert set(JUDGED) == {Phase.GUARDED, *TOUCHING}


def test_one_write_may_pass_over_what_touches_nothing_and_over_nothing_else() -> None:
    untouched = GOOD[: GOOD.index("Applying")]
    for at, phase in enumerate(GOOD):
        ahead = [name for name in WRITTEN[Phase(phase)] if name in GOOD]
        last = GOOD.index("Applying") if phase in untouched else at + 1
        assert sorted(ahead, key=GOOD.index) == GOOD[at + 1 : last + 1]
    assert all(set(WRITTEN[phase]) <= reached(phase) and set(NEXT[phase]) <= set(WRITTEN[phase]) for phase in Phase)
    assert set(FIRST) == {*map(Phase, untouched), Phase.APPLYING, Phase.DENIED, Phase.EXPIRED, Phase.SUPERSEDED}
    assert set(BEGUN) == set(TOUCHING) - {Phase.APPROVED}
