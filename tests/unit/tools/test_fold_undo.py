"""What bench/fold_undo.py draws: the same by a seed, one fold on a target at a time, every kind amid every fault."""

from bench.undo.draws import FAULTS, ROUND, drawn, fold_of
from bench.undo.populations import SPACE
from loomidi.contracts import FoldKind, Mode
from loomidi.fold.asking import Request, asked
from loomidi.fold.resources import fold_object

WAYS_BACK = set(FoldKind) - {FoldKind.EVICT, FoldKind.TERMINATE}


def pods(app: str) -> list[dict[str, dict[str, str]]]:
    return [{"metadata": {"name": f"{app}-0"}}]


def test_a_round_is_the_same_by_its_seed_and_folds_no_target_twice() -> None:
    assert drawn(1, 3) == drawn(1, 3) != drawn(2, 3)
    assert len({draw.target for draw in drawn(1, 3)}) == ROUND


def test_ten_rounds_have_every_kind_that_has_a_way_back_and_every_fault() -> None:
    draws = [draw for number in range(10) for draw in drawn(1, number)]
    assert {draw.kind for draw in draws} == WAYS_BACK
    assert {draw.fault for draw in draws} == set(FAULTS)


def test_every_draw_becomes_a_fold() -> None:
    for draw in (draw for number in range(10) for draw in drawn(1, number)):
        plan = asked(fold_of(draw, pods), Request("bench", draw.name, mode=Mode.AUTONOMOUS), 1_790_000_000 * 10**9)
        assert fold_object(plan, SPACE)["spec"]["ttlSeconds"] >= draw.lasts_s
