"""Learning thresholds: within bounds, slowly, and never from an attack."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts import InputError
from loomidi.ionic.enforcer import Bounds, Standing, UsualWindows, read_bounds, tuned
from loomidi.loom.capture.own_limits import WINDOWS, Watched, key_of

SECOND = 10**9
DAY = 86_400 * SECOND
KEY = key_of(Watched("service", "10.0.0.2", 80, 6))
OF_ALL = {"packets": 5000, "octets": 100_000_000, "syns": 200, "ports": 0, "peers": 100}
TUNED = {"packets": 600, "octets": 2_000_000, "syns": 150, "ports": 0, "peers": 30}
TARGET = "service/10.0.0.2:80/tcp"


def bounds(**changes: float) -> Bounds:
    return dataclasses.replace(read_bounds(), least_windows=20, **changes)


def window(syns: int, elapsed_ns: int = SECOND) -> pa.RecordBatch:
    row = {"key": KEY, "elapsed_ns": elapsed_ns, "packets": 4 * syns, "octets": 4000 * syns, "syns": syns}
    return pa.RecordBatch.from_pylist([{**row, "ports": 1, "peers": 5}], schema=WINDOWS)


def learned(counts: list[int], limits: Bounds) -> UsualWindows:
    usual = UsualWindows(limits)
    for second, count in enumerate(counts):
        usual.observe(window(count), second * SECOND, SECOND, attacked=False, own={})
    usual.settle_all()
    return usual


def proposed(
    usual: UsualWindows, limits: Bounds, standing: Standing | None = None, now_ns: int = DAY
) -> dict[str, int]:
    made = tuned(usual, KEY, standing or Standing(TARGET, "service", OF_ALL, False), limits, (now_ns, SECOND))
    return dict(made.fold.thresholds) if made else {}


def test_a_threshold_is_what_is_usual_at_most_times_the_margin() -> None:
    steady = proposed(learned([100] * 40, bounds()), bounds())
    assert steady == {"packets": 600, "octets": 2_000_000, "syns": 150, "peers": 30, "window_ms": 1000}


def test_windows_that_are_too_few_or_too_young_give_no_proposal() -> None:
    assert proposed(learned([100] * 19, bounds()), bounds()) == {}
    usual = UsualWindows(bounds())
    usual.observe(window(100, SECOND // 4), 0, SECOND, attacked=False, own={})
    usual.settle_all()
    assert len(usual) == 0


def test_a_change_that_is_not_worth_it_is_left_alone_and_one_that_ends_soon_is_renewed() -> None:
    usual, now = (
        learned([100] * 40, bounds()),
        {"packets": 620, "octets": 2_000_000, "syns": 155, "ports": 0, "peers": 30},
    )
    assert proposed(usual, bounds(), Standing(TARGET, "service", now, True, left_s=3000)) == {}
    assert proposed(usual, bounds(), Standing(TARGET, "service", now, True, left_s=100))["syns"] == 150


def test_nothing_is_learned_while_a_finding_is_open_nor_from_what_came_shortly_before_it() -> None:
    usual = learned([100] * 40, bounds())
    for second in range(100, 105):
        usual.observe(window(180), second * SECOND, SECOND, attacked=False, own={})
    for second in range(105, 200):
        usual.observe(window(9000), second * SECOND, SECOND, attacked=True, own={})
    usual.settle_all()
    assert (usual.counts["thrown_away"], usual.counts["attacked"]) == (5, 95)
    assert proposed(usual, bounds())["syns"] == 150


def test_a_window_beyond_the_tuned_threshold_teaches_nothing() -> None:
    usual, own = learned([100] * 40, bounds()), {KEY: np.array([600.0, 0, 150, 0, 0])}
    for second in range(100, 200):
        usual.observe(window(151), second * SECOND, SECOND, attacked=False, own=own)
    usual.settle_all()
    assert usual.counts["beyond"] == 100


@pytest.mark.parametrize("days", [10, 200])
def test_a_slow_trainer_gains_a_share_a_day_at_most_and_never_passes_the_bound(days: int) -> None:
    limits = bounds(kept_windows=30)
    usual, force = (
        learned([100] * 40, limits),
        dict(OF_ALL) | {"packets": 600, "octets": 2_000_000, "syns": 150, "peers": 30},
    )
    for day in range(2, 2 + days):
        own = {KEY: np.array([force[name] for name in ("packets", "octets", "syns", "ports", "peers")], float)}
        for second in range(40):
            usual.observe(window(force["syns"] * 9 // 10), day * DAY + second * SECOND, SECOND, attacked=False, own=own)
        usual.settle_all()
        before, standing = force["syns"], Standing(TARGET, "service", force, True, left_s=0)
        for hour in range(3):  # proposed several times a day: the share counts from the day's first
            got = proposed(usual, limits, standing, day * DAY + hour * 3600 * SECOND)
            force |= {name: count for name, count in got.items() if name in force}
            standing = Standing(TARGET, "service", force, True, left_s=0)
        assert force["syns"] <= min(before * 1.25 + 1, limits.service["syns"][1])
    assert force["syns"] <= limits.service["syns"][1]


def test_what_was_learned_survives_a_restart_and_what_waits_does_not() -> None:
    usual = learned([100] * 40, bounds())
    usual.observe(window(180), 100 * SECOND, SECOND, attacked=False, own={})
    again = UsualWindows(bounds())
    again.restore(usual.snapshot())
    again.settle_all()
    assert proposed(again, bounds()) == proposed(learned([100] * 40, bounds()), bounds())
    assert again.counts["learned"] == 40


def test_more_keys_than_the_policy_has_room_for_are_counted() -> None:
    usual = UsualWindows(bounds(most_keys=1))
    for number in range(3):
        row = window(5).to_pylist()[0] | {"key": key_of(Watched("source", f"10.0.0.{number}"))}
        usual.observe(pa.RecordBatch.from_pylist([row], schema=WINDOWS), 0, SECOND, attacked=False, own={})
    usual.settle_all()
    assert (len(usual), usual.counts["no_room"]) == (1, 2)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("margin: 1.5", "margin: 0.5", "use 1 or more"),
        ("syns: [20, 2000]", "syns: [2000, 20]", "service.syns"),
        ("worth: 0.1", "worht: 0.1", "worht"),
        ("ttl_s: 3600", "", "ttl_s is missing"),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(tmp_path: Path, was: str, now: str, said: str) -> None:
    text = (Path(__file__).parents[3] / "rules" / "enforcer" / "bounds.yaml").read_text()
    assert was in text
    (tmp_path / "bounds.yaml").write_text(text.replace(was, now, 1))
    with pytest.raises(InputError, match=said):
        read_bounds(tmp_path / "bounds.yaml")
