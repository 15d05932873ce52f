"""Windows as what root cause analysis looks at: who is slow, who fails, who began, which release, which node."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.errors import InputError
from loomidi.origami.causes import CauseSettings, Observed, Window, rank
from loomidi.origami.causes.observing import WindowSignals
from loomidi.origami.causes.placements import Placements
from loomidi.services.anomalies.reasoning import releases_first
from tests.unit.origami.shops import CART, DB, FRONT, SCANNER, SECOND, START, STEP_NS, Shop, pods

CATALOG = "deployment/shop/catalog"


def usual(shop: Shop, windows: int = 60) -> WindowSignals:
    signals = WindowSignals()
    for window in shop.windows(windows):
        signals.add(window)
    return signals


def window_of(shop: Shop, steps: int = 3) -> Window:
    return Window(shop.ns - steps * STEP_NS, shop.ns, STEP_NS)


def causes(signals: WindowSignals, shop: Shop, about: list[str], placements: Placements | None = None) -> list[str]:
    window = window_of(shop)
    found = rank(signals.observed(window, about, placements), window)
    return [cause.entity for cause in found if found[0].score >= CauseSettings().sure]


def values(observed: Observed, entity: str, signal: str) -> list[float]:
    found = observed.signals.filter(
        pc.and_(pc.equal(observed.signals["entity"], entity), pc.equal(observed.signals["signal"], signal))
    )
    return [float(value) for value in found.sort_by("time_ns")["value"].to_pylist()]


def test_nobody_is_to_blame_while_all_is_as_usual() -> None:
    shop = Shop(seed=1)
    assert causes(usual(shop), shop, [FRONT, CART]) == []


def test_a_slow_dependency_is_named_before_those_that_wait_for_it() -> None:
    shop = Shop(seed=2)
    signals = usual(shop)
    shop.slow[DB] = 0.8
    for window in shop.windows(3):
        signals.add(window)
    assert causes(signals, shop, [FRONT, CART])[0] == DB


def test_who_scans_is_named_and_not_whom_it_scans() -> None:
    shop = Shop(seed=3)
    signals = usual(shop)
    for first in (0, 40, 80):
        signals.add(shop.scan(first))
    assert causes(signals, shop, [SCANNER, "deployment/shop/target-3"])[0] == SCANNER


def test_what_one_caller_alone_meets_is_not_the_callee() -> None:
    shop = Shop(seed=4)
    signals = usual(shop)
    for window in shop.windows(3):
        mine = pc.and_(pc.equal(window["source_workload"], CART), pc.equal(window["destination_workload"], DB))
        slow = pc.if_else(mine, 2e9, window["response_p50_ns"])
        at = window.schema.get_field_index("response_p50_ns")
        signals.add(window.set_column(at, window.schema.field(at), slow))
    observed = signals.observed(window_of(shop), [CART])
    assert max(values(observed, CART, "response")) == 2.0  # of its calls to DB
    latency = observed.signals.filter(pc.equal(observed.signals["role"], "latency"))
    assert max(latency.filter(pc.equal(latency["entity"], DB))["value"].to_pylist()) < 0.1


def release(shop: Shop) -> Placements:
    placements = Placements()
    old = {"name": "db-1-a", "owner": "db", "node": "n1", "revision": "1", "from": START, "uid": "a"}
    new = old | {"name": "db-2-a", "revision": "2", "from": shop.ns - 2 * STEP_NS, "uid": "b", "address": "10.0.0.2"}
    placements.learn(pods(old, new))
    return placements


def test_a_release_that_just_came_explains_what_its_workload_does() -> None:
    shop = Shop(seed=5)
    signals = usual(shop)
    shop.slow[DB] = 0.8
    for window in shop.windows(3):
        signals.add(window)
    window = window_of(shop)
    found = rank(signals.observed(window, [FRONT, CART], release(shop)), window)
    assert {cause.entity for cause in found[:2]} == {"rollout/shop/db@2", DB}
    assert [cause.entity for cause in releases_first(found)][:2] == ["rollout/shop/db@2", DB]


def test_a_release_that_harms_nobody_is_not_named() -> None:
    shop = Shop(seed=6)
    assert causes(usual(shop), shop, [FRONT, CART], release(shop)) == []


def test_a_node_on_which_every_workload_fails_is_named() -> None:
    shop = Shop(seed=7)
    signals, placements = usual(shop), Placements()
    names = ("db", "cart", "catalog")
    rows = [
        {"name": f"{name}-r{at}-0", "owner": name, "node": "n2", "revision": "1", "from": START, "uid": f"{name}{at}"}
        for name in names
        for at in range(3)
    ]
    placements.learn(pods(*rows))
    shop.failing = {DB: 0.9, CART: 0.9, CATALOG: 0.9}
    for window in shop.windows(3):
        signals.add(window)
    assert causes(signals, shop, [FRONT, CART], placements)[0] == "node/n2"


def test_the_past_is_bounded_and_what_is_forgotten_is_counted() -> None:
    shop, signals = Shop(), WindowSignals(most_rows=200)
    for window in shop.windows(30):
        signals.add(window)
    assert signals.counts["forgotten_steps"] >= 15
    assert len(values(signals.observed(window_of(shop), [DB]), DB, "flows")) <= 200 / 10


def test_a_restored_past_gives_the_same_answer() -> None:
    shop = Shop(seed=8)
    signals, again = usual(shop), WindowSignals()
    again.restore(signals.to_bytes())
    window = window_of(shop)
    assert again.observed(window, [CART]).signals.equals(signals.observed(window, [CART]).signals)
    with pytest.raises(InputError, match="cannot be read"):
        again.restore(b"no state")


def test_an_entity_of_a_finding_is_known_by_its_workload_or_its_network() -> None:
    placements = Placements()
    row = {"name": "db-0", "owner": "db", "node": "n1", "revision": "1", "from": START, "services": ["service/shop/db"]}
    placements.learn(pods(row | {"address": "10.1.2.3"}))
    known = (
        "pod/shop/db-0",
        "workload/shop/db",
        "service/shop/db:5432/tcp",
        "host/10.1.2.3",
        "service/10.1.2.3:80/tcp",
    )
    assert {placements.end(entity) for entity in known} == {DB}
    assert placements.end("host/198.51.100.7") == "198.51.100.0/24"
    assert placements.end("host/2001:db8::7") == "2001:db8::/64"
    assert placements.end("pod/shop/other") == "pod/shop/other"
    assert placements.node("pod/shop/db-0") == "node/n1"


def test_pods_are_bounded_and_those_that_ended_first_make_room() -> None:
    placements = Placements(most=2)
    rows = [
        {"name": f"p{at}", "owner": "o", "node": "n", "revision": "1", "from": START, "uid": f"u{at}", "to": START + at}
        for at in range(1, 4)
    ]
    placements.learn(pods(*(row | {"address": f"10.0.0.{at}"} for at, row in enumerate(rows))))
    assert placements.counts["forgotten_pods"] == 1
    assert placements.node("pod/shop/p1") == ""
    assert placements.node("pod/shop/p3") == "node/n"


def test_empty_windows_say_nothing() -> None:
    signals = WindowSignals()
    signals.add(Shop().window().slice(0, 0))
    observed = signals.observed(Window(START, START + 60 * SECOND, STEP_NS), [DB])
    assert observed.signals.num_rows == 0
    assert isinstance(observed.calls, pa.Table)
