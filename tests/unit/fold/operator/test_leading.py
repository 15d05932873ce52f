"""Taking turns: who holds the lease, who takes it, and who stops."""

from typing import Any

import pytest

from loomidi.fold.operator import Leadership, LeaseSettings, NotLeading
from loomidi.ionic.act.kube import KubeApi, Patience
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import a_clock

PLACE = "/apis/coordination.k8s.io/v1/namespaces/loomidi-system/leases/loomidi-operator"


def replica(api: FakeApi, name: str, clock: ManualClock) -> Leadership:
    return Leadership(KubeApi(api.client(), Patience(tries=1), clock=clock), name, LeaseSettings(), clock=clock)


def spec(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects[PLACE]["spec"]
    return found


def test_the_first_one_leads_and_the_second_one_waits() -> None:
    api, clock = FakeApi(), a_clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    assert (one.tend(), two.tend()) == (True, False)
    assert (one.leading, two.leading) == (True, False)
    assert spec(api)["holderIdentity"] == "one"


def test_a_lease_that_is_renewed_is_not_taken() -> None:
    api, clock = FakeApi(), a_clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    for _ in range(10):
        one.tend()
        clock.sleep(5)
        assert not two.tend()


def test_a_lease_that_is_not_renewed_is_taken_with_a_larger_token() -> None:
    api, clock = FakeApi(), a_clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    one.tend()
    before = one.fence().token
    assert not two.tend()
    clock.sleep(15)
    assert two.tend()
    assert two.fence().token > before
    assert spec(api)["leaseTransitions"] == 1


def test_who_could_not_renew_stops_before_anybody_may_take_it() -> None:
    api, clock = FakeApi(), a_clock()
    one = replica(api, "one", clock)
    one.tend()
    fence = one.fence()
    fence.check()
    clock.sleep(10)
    with pytest.raises(NotLeading, match="does not hold the lease"):
        fence.check()


def test_who_comes_back_finds_another_leading() -> None:
    api, clock = FakeApi(), a_clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    one.tend()
    fence = one.fence()
    two.tend()
    clock.sleep(15)
    two.tend()
    assert not one.tend()
    with pytest.raises(NotLeading):
        fence.check()


def test_a_server_that_is_away_for_a_moment_takes_nothing_from_the_holder() -> None:
    api, clock = FakeApi(), a_clock()
    one = replica(api, "one", clock)
    one.tend()
    api.failures["GET"] = [503]
    assert one.tend()
    clock.sleep(10)
    assert not one.leading


def test_a_renewal_that_failed_is_tried_again_sooner() -> None:
    api, clock = FakeApi(), a_clock()
    one = replica(api, "one", clock)
    one.tend()
    assert one.wait_s == LeaseSettings().renewed_s
    api.failures["GET"] = [503] * 4
    for _ in range(4):
        one.tend()
        clock.sleep(one.wait_s)
    assert one.leading
    token = one.fence().token
    assert one.tend()
    assert one.fence().token == token


def test_who_ends_lets_go_at_once() -> None:
    api, clock = FakeApi(), a_clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    one.tend()
    one.leave()
    assert two.tend()


def test_a_restarted_replica_of_the_same_name_has_a_larger_token() -> None:
    api, clock = FakeApi(), a_clock()
    one, again = replica(api, "one", clock), replica(api, "one", clock)
    one.tend()
    again.tend()
    assert again.fence().token > one.fence().token
