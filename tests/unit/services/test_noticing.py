"""Windows learned, calibrated and judged: the same features and incidents however they come, and after a restart."""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings
from loomidi.loom.windows.synthetic import flow_records
from loomidi.origami.features import WindowFeatures
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.champions import makers
from loomidi.services.anomalies.noticing import CALIBRATING, LEARNING, TELLING, Kept, Noticing
from loomidi.services.settings.anomalies import AnomalySettings
from tests.unit.origami.shops import CART, DB, SCANNER, Shop

SETTINGS = AnomalySettings(learn_s=1200, calibrate_s=900, learn_rows=1280, kept_rows=20_000, pairs=4096)
LEARNED = 220  # windows after which it tells


def noticing(settings: AnomalySettings = SETTINGS, **more: object) -> Noticing:
    return Noticing(settings, 10, makers(Path("/nowhere"), settings), **more)  # type: ignore[arg-type]


def told(one: Noticing, windows: Iterable[pa.RecordBatch]) -> list[Incident]:
    return [incident for window in windows for incident in one.take(window)]


@functools.cache
def _learned(seed: int) -> tuple[bytes, dict[str, int]]:
    """Once for all tests of a seed: the state, and the releases of the shop by then."""
    shop, one = Shop(seed=seed), noticing()
    assert told(one, shop.windows(LEARNED)) == []
    assert one.phase == TELLING
    return one.to_bytes(), shop.release


def learned(seed: int = 1) -> tuple[Noticing, Shop]:
    """What tells, and the shop that goes on as it was."""
    state, release = _learned(seed)
    one = noticing()
    one.restore(state)
    return one, Shop(seed=seed, at=LEARNED, release=dict(release))


def test_it_learns_then_calibrates_then_tells_and_says_so() -> None:
    one, shop = noticing(), Shop(seed=1)
    assert told(one, shop.windows(10)) == []
    assert one.phase == LEARNING
    assert one.standing() == "learning: 90 of 1200 s, 162 of 1280 edges"
    told(one, shop.windows(120))
    assert one.phase == CALIBRATING
    told(one, shop.windows(91))
    assert one.standing() == "telling, by floor"


def test_what_happens_while_it_learns_is_no_alarm() -> None:
    shop, one = Shop(seed=2), noticing()
    assert told(one, [*shop.windows(60), shop.scan(0), shop.exfiltration()]) == []


def test_releases_are_no_incident_once_an_hour_was_learned_and_an_hour_calibrated() -> None:
    one, shop = noticing(dataclasses.replace(SETTINGS, learn_s=3600, calibrate_s=3600, learn_rows=5120)), Shop(seed=0)
    assert told(one, shop.windows(722)) == []
    assert one.phase == TELLING
    before = sum(shop.release.values())
    assert told(one, shop.windows(360)) == []
    assert sum(shop.release.values()) > before + 5


def test_a_scan_is_one_incident_that_names_who_scans() -> None:
    one, shop = learned()
    found = told(one, [shop.scan(0), shop.scan(40), *shop.windows(2)])
    assert found[0].state == "new"
    assert {incident.incident_id for incident in found} == {found[0].incident_id}
    assert {pair[0] for pair in found[0].pairs} == {SCANNER}
    assert found[0].p_value <= one.judge.risk


def test_much_that_goes_out_is_an_incident_with_the_figures_that_say_so() -> None:
    one, shop = learned()
    (found, *_) = told(one, [shop.exfiltration(), *shop.windows(1)])
    assert (CART, "203.0.113.0/24") in {pair[:2] for pair in found.pairs}
    assert {name for name, _, _ in found.quoted} & {"octets_per_flow", "first_seen", "edge_gap_s"}


def test_an_incident_is_over_when_it_was_quiet_for_long_enough() -> None:
    one, shop = learned()
    found = told(one, [shop.exfiltration(), *shop.windows(70)])
    assert [incident.state for incident in found] == ["new", "over"]


def cut(windows: list[pa.RecordBatch], rows: int) -> Iterable[pa.RecordBatch]:
    """Pieces of so many rows, across windows, as envelopes may hold them."""
    table = pa.Table.from_batches(windows).combine_chunks().to_batches()[0]
    return (table.slice(at, rows) for at in range(0, table.num_rows, rows))


def test_training_and_live_features_are_equal_to_the_bit_however_the_stream_comes() -> None:
    shop = Shop(seed=6)
    windows = [*shop.windows(50), shop.scan(0), shop.exfiltration(), *shop.windows(5)]
    trained = WindowFeatures().feed(pa.Table.from_batches(windows).combine_chunks().to_batches()[0])
    live = list[pa.RecordBatch]()
    one = noticing(watch=live.append)
    for at, piece in enumerate(cut(windows, 7)):
        one.take(piece)
        if at % 40 == 39:  # as if it had been killed
            one, before = noticing(watch=live.append), one
            one.restore(before.to_bytes())
    one.settle()
    assert pa.Table.from_batches(live).combine_chunks() == pa.Table.from_batches([trained])


def test_windows_as_the_runner_publishes_them_have_the_features_of_training() -> None:
    machine, live = WindowMachine(WindowSettings(lateness_s=0), epoch=1), list[pa.RecordBatch]()
    flows = flow_records(20_000, seed=2, seconds=120.0)
    envelopes = []
    for at in range(4):  # closed bit by bit, as live
        machine.absorb(flows.slice(at * 5000, 5000))
        last = flows.column("flow_end_nanoseconds").cast(pa.int64())[at * 5000 + 4999].as_py()
        envelopes += machine.close(last // 10**10 * 10**10 + (at == 3) * 10**10)
    batches = [decode(one, EDGE_WINDOWS) for one in envelopes if one.stream == "edge_windows"]
    one = noticing(dataclasses.replace(SETTINGS, pairs=65_536), watch=live.append)
    for batch in batches:
        one.take(batch)
    one.settle()
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    mine = pc.and_(rows.column("window_aligned"), pc.equal(rows.column("window_size_s"), 10))
    trained = WindowFeatures().feed(rows.filter(mine))
    assert trained.num_rows > 5000
    assert pa.Table.from_batches(live).combine_chunks() == pa.Table.from_batches([trained])
    assert one.counts["late"] == 0


def test_a_restart_at_any_moment_tells_the_same() -> None:
    one, shop = learned()
    windows = [*shop.windows(3), shop.scan(0), *shop.windows(3), shop.scan(40), shop.exfiltration(), *shop.windows(9)]
    state = one.to_bytes()
    whole = told(one, windows)
    again, parts = noticing(), list[Incident]()
    again.restore(state)
    for window in windows:
        parts += again.take(window)
        again, before = noticing(), again
        again.restore(before.to_bytes())
    assert whole
    assert parts == whole
    assert again.figures() == one.figures()


def test_what_was_learned_with_something_else_is_refused_with_a_reason() -> None:
    shop = Shop(seed=8)
    one = noticing()
    told(one, shop.windows(5))
    other = noticing(dataclasses.replace(SETTINGS, pairs=2048))
    with pytest.raises(InputError, match="belongs to other features, windows or detectors"):
        other.restore(one.to_bytes())


def test_rows_of_a_window_that_was_judged_are_judged_and_counted_as_late() -> None:
    shop = Shop(seed=9)
    one, (first, second, third) = noticing(), list(shop.windows(3))
    told(one, [first.slice(0, 5), second, first.slice(5), third])
    one.settle()
    assert one.counts["late"] == first.num_rows - 5
    assert one.counts["read"] == one.counts["learned"] == sum(each.num_rows for each in (first, second, third))


def test_windows_of_other_sizes_are_left_out() -> None:
    window = Shop().window()
    at = window.schema.get_field_index("window_size_s")
    other = window.set_column(at, window.schema.field(at), pa.array([60] * window.num_rows, pa.uint32()))
    one = noticing()
    one.take(other)
    assert (one.counts["other_windows"], one.counts["read"], one.waiting) == (window.num_rows, 0, False)


def test_what_is_kept_to_learn_from_is_bounded_and_spread_over_its_time() -> None:
    kept, shop = Kept(200), Shop()
    for window in shop.windows(100):
        kept.add(window)
    assert sum(one.num_rows for one in kept.batches) <= 200
    assert (kept.ticks, kept.rows) == (100, sum(one.num_rows for one in Shop().windows(100)))
    starts = [one.column("window_start")[0].value for one in kept.batches]
    assert len({after - before for before, after in zip(starts[1:], starts, strict=False)}) == 1


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        AnomalySettings(incidents_per_day=0).checked()
    with pytest.raises(UsageError, match="windows are made of 60, 300 s"):
        AnomalySettings(size_s=10).size((60, 300))
    assert AnomalySettings().size((60, 10, 300)) == 10
    assert AnomalySettings().size(()) == 0


def test_a_slice_that_is_too_short_for_the_budget_is_told_with_what_to_do() -> None:
    short = AnomalySettings(calibrate_s=240.0).coarse()
    assert "0.0028 of one" in short
    assert "allow 36 a day" in short
    assert "0 of one" in AnomalySettings(calibrate_s=0.0).coarse()
    assert not AnomalySettings().coarse()
    assert not AnomalySettings(calibrate_s=240.0, incidents_per_day=36.0).coarse()


def test_a_slow_dependency_is_told_when_it_is_out_of_proportion() -> None:
    one, shop = learned()
    shop.slow[DB] = 5.0
    found = told(one, shop.windows(4))
    assert found
    assert DB in found[0].entities
