"""Within one look the API server is asked once for each thing; whoever writes, clashes or takes long looks again."""

import pytest

from loomidi.ionic.act.kube.looking import LASTS_S, LookingApi
from loomidi.ionic.errors import Clash
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.kube.fake_api import FakeApi

POD, FOLD = "/api/v1/namespaces/shop/pods/cart-0", "/apis/loomidi.io/v1alpha1/namespaces/shop/folds/one"
LABEL = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]


@pytest.fixture
def server() -> FakeApi:
    server = FakeApi()
    for path in (POD, FOLD):
        server.put(path, {"metadata": {"name": path.rpartition("/")[2], "namespace": "shop"}})
    return server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1)


@pytest.fixture
def api(server: FakeApi, clock: ManualClock) -> LookingApi:
    return LookingApi(server.client(), clock=clock)


def test_what_was_read_within_a_look_is_not_asked_for_again(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        assert [api.get(POD), api.get(f"{POD}x")] == [api.get(POD), api.get(f"{POD}x")]
        assert api.items(POD.rpartition("/")[0]) == api.items(POD.rpartition("/")[0])
    assert server.asked["GET"] == 3


def test_outside_of_a_look_nothing_is_remembered(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
    api.get(POD)
    api.get(POD)
    assert server.asked["GET"] == 3


def test_a_write_is_seen_by_who_made_it(api: LookingApi) -> None:
    with api.look():
        before = api.get(POD) or {}
        api.patch(POD, LABEL, before["metadata"]["resourceVersion"])
        assert (api.get(POD) or {})["metadata"]["labels"] == {"a": "b"}


def test_who_clashed_reads_again(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        before = api.get(POD) or {}
        server.put(POD, {"metadata": {"name": "cart-0", "namespace": "shop", "labels": {"c": "d"}}})
        with pytest.raises(Clash):
            api.patch(POD, LABEL, before["metadata"]["resourceVersion"])
        assert (api.get(POD) or {})["metadata"]["labels"] == {"c": "d"}


def test_a_write_to_a_fold_forgets_folds_alone(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
        fold = api.get(FOLD) or {}
        api.patch(FOLD, LABEL, fold["metadata"]["resourceVersion"])
        api.get(POD)
        api.get(FOLD)
    assert server.asked["GET"] == 3


def test_a_look_is_over_after_a_second(api: LookingApi, server: FakeApi, clock: ManualClock) -> None:
    with api.look():
        api.get(POD)
        clock.sleep(LASTS_S)
        api.get(POD)
    assert server.asked["GET"] == 2


def test_what_was_asked_for_ahead_serves_the_next_look_once(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
        api.items(POD.rpartition("/")[0])
        api.look_ahead(api.asked)
        api.look_again()
        api.get(POD)
        api.items(POD.rpartition("/")[0])
        assert server.asked["GET"] == 4
        api.look_again()
        api.get(POD)
    assert server.asked["GET"] == 5


def test_a_look_ahead_sees_what_has_changed_since_the_look_before(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
        server.put(POD, {"metadata": {"name": "cart-0", "namespace": "shop", "labels": {"c": "d"}}})
        api.look_ahead(api.asked)
        api.look_again()
        assert (api.get(POD) or {})["metadata"]["labels"] == {"c": "d"}


def test_nothing_asked_for_ahead_outlives_a_write_of_our_own(api: LookingApi) -> None:
    with api.look():
        before = api.get(POD) or {}
        api.look_ahead(api.asked)
        api.patch(POD, LABEL, before["metadata"]["resourceVersion"])
        assert (api.get(POD) or {})["metadata"]["labels"] == {"a": "b"}


def test_a_write_to_a_fold_leaves_what_was_asked_for_ahead(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
        fold = api.get(FOLD) or {}
        api.look_ahead(api.asked)
        api.patch(FOLD, LABEL, fold["metadata"]["resourceVersion"])
        api.look_again()
        api.get(POD)
    assert server.asked["GET"] == 3


def test_a_look_ahead_lasts_a_second_from_when_it_was_begun(
    api: LookingApi, server: FakeApi, clock: ManualClock
) -> None:
    with api.look():
        api.get(POD)
        api.look_ahead(api.asked)
        clock.sleep(LASTS_S / 2)
        api.look_again()
        api.get(POD)
        clock.sleep(LASTS_S / 2)
        api.get(POD)
    assert server.asked["GET"] == 3


def test_what_could_not_be_read_ahead_is_asked_for_again(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        api.get(POD)
        server.failures["GET"] = [422]
        api.look_ahead(api.asked)
        api.look_again()
        assert (api.get(POD) or {})["metadata"]["name"] == "cart-0"


def test_what_is_asked_for_ahead_serves_who_has_not_seen_it_and_nobody_else(api: LookingApi, server: FakeApi) -> None:
    with api.look():
        seen = api.get(POD)
        api.look_ahead([(POD, None), (f"{POD}x", None)])
        assert (api.get(f"{POD}x"), api.get(POD)) == (None, seen)
        assert api.asked == [(POD, None), (f"{POD}x", None)]
    assert server.asked["GET"] == 3
