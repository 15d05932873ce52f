"""Orders on one node: which are carried out, on whom, what stays after a crash, and what each receipt says."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import EnvironmentLacks, Match, Refused, Step
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import OrderRefused
from loomidi.ionic.orders import DENY, RELEASE, KeySealer, Order
from loomidi.loom.capture.podlinks import PodLink
from tests.unit.services.cutting_rooms import CART, Node

S = 10**9


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.shield.close()


def steps(node: Node, order: Order) -> list[Step]:
    return [receipt.step for receipt in node.cutter.receipts(order.plan_id)]


def refused(node: Node, order: Order) -> str:
    before = dict(node.cuts.table)
    with pytest.raises(OrderRefused) as error:
        node.obey(order)
    assert node.cuts.table == before
    return error.value.reason


def test_a_pod_is_cut_on_the_link_it_has_now_and_the_receipt_says_so(node: Node) -> None:
    order = node.order()
    answer = node.obey(order)
    cut = node.cuts.table[11]
    assert (cut.pod, cut.plan, cut.token, cut.expires_ns) == (CART.uid, order.plan_id, 5, order.until_ns)
    assert [one["link"] for one in answer["after"]] == [11]
    assert answer["spares"] == ["10.0.0.1", "169.254.1.1/32"]
    assert answer["receipt"]["detail"]["order"]["approval"] == "signature"
    assert steps(node, order) == [Step.APPLIED]


def test_the_same_order_again_changes_nothing(node: Node) -> None:
    order = node.order()
    first, second = node.obey(order), node.obey(order)
    assert first["receipt"]["id"] == second["receipt"]["id"]
    assert len(node.cuts.table) == 1
    assert steps(node, order) == [Step.APPLIED]


def test_an_order_replayed_after_its_release_is_refused(node: Node) -> None:
    order = node.order()
    node.obey(order)
    node.obey(node.order(RELEASE, plan_id=order.plan_id))
    assert node.cuts.table == {}
    assert refused(node, order) == "released"
    node.start()
    assert refused(node, order) == "released"


def test_an_order_that_comes_after_its_release_is_refused(node: Node) -> None:
    late = node.order()
    node.obey(node.order(RELEASE, plan_id="", rule=rule_id(late.plan_id)))
    assert refused(node, late) == "released"


def test_an_older_token_is_refused_also_after_a_restart(node: Node) -> None:
    node.obey(node.order(token=9))
    assert refused(node, node.order(token=8)) == "old-token"
    node.receipts, node.cuts.table = type(node.receipts)(clock=node.clock), {}
    node.start()
    assert refused(node, node.order(token=8)) == "old-token"


def test_a_token_that_cannot_be_read_keeps_the_agent_from_starting(node: Node) -> None:
    (node.state / "token.json").write_text("{}")
    with pytest.raises(EnvironmentLacks, match="newest token"):
        node.start()


def test_a_forged_order_is_refused(node: Node) -> None:
    with pytest.raises(OrderRefused, match="forged"):
        node.cutter.obey(node.order().sealed(KeySealer(b"x" * 32)))
    assert node.cuts.table == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pod": "uid-of-before"}, "no-pod"),
        ({"name": "cart-1"}, "other-pod"),
        ({"pod": "uid-dns", "namespace": "kube-system", "name": "coredns-1"}, "protected"),
        ({"pod": "uid-dns"}, "other-pod"),
        ({"node": "n2"}, "wrong-node"),
    ],
)
def test_nothing_but_the_pod_that_is_meant_is_cut(node: Node, fields: dict[str, Any], reason: str) -> None:
    assert refused(node, node.order(**fields)) == reason


def test_a_pod_made_anew_under_the_same_name_and_address_is_left_alone(node: Node) -> None:
    node.pods.pods = {"uid-new": PodLink("uid-new", "shop", "cart-0", (11,))}
    assert refused(node, node.order()) == "no-pod"


def test_a_pod_is_cut_on_all_of_its_links_or_on_none(node: Node) -> None:
    node.pods.pods[CART.uid] = dataclasses.replace(CART, links=(11, 13))
    node.cuts.gone = 13
    with pytest.raises(Refused, match="not there any more"):
        node.obey(node.order())
    assert node.cuts.table == {}
    node.cuts.gone = 0
    assert len(node.obey(node.order())["after"]) == 2


def test_one_plan_holds_a_pod_at_a_time(node: Node) -> None:
    first = node.order()
    node.obey(first)
    assert refused(node, node.order()) == "held"
    node.pods.pods["uid-2"] = PodLink("uid-2", "shop", "cart-1", (13,))
    assert refused(node, dataclasses.replace(first, pod="uid-2", name="cart-1")) == "held"


def test_a_cut_ends_on_time_with_a_receipt(node: Node) -> None:
    order = node.order()
    node.obey(order)
    node.clock.move(61 * S)
    node.cutter.follow()
    assert node.cuts.table == {}
    assert steps(node, order) == [Step.APPLIED, Step.EXPIRED]
    assert node.cutter.plans() == []


def test_a_new_link_of_a_pod_that_is_cut_is_cut_too(node: Node) -> None:
    node.obey(node.order())
    node.pods.pods[CART.uid] = dataclasses.replace(CART, links=(21,))
    node.cuts.table.clear()  # the old one has gone
    node.cutter.follow()
    assert list(node.cuts.table) == [21]
    puts = node.cuts.puts
    node.cutter.follow()
    assert node.cuts.puts == puts


def test_the_links_of_all_pods_are_prepared_and_the_node_s_own_addresses_spared(node: Node) -> None:
    node.cutter.follow()
    assert node.cuts.prepared == [11, 12]
    assert node.cuts.spared == ["10.0.0.1", "169.254.1.1/32"]


def test_what_is_in_the_kernel_without_a_receipt_gets_one_after_a_crash(node: Node) -> None:
    order = node.order()
    node.obey(order)
    node.receipts = type(node.receipts)(clock=node.clock)  # it died right after the entry
    node.start()
    (receipt,) = node.cutter.receipts(order.plan_id)
    assert (receipt.step, receipt.detail["why"]) == (Step.APPLIED, "found in the kernel after a restart")
    node.obey(node.order(RELEASE, plan_id="", rule=rule_id(order.plan_id)))
    assert node.cuts.table == {}


def test_after_the_machine_was_started_anew_what_is_still_wanted_is_cut_again(node: Node) -> None:
    order = node.order()
    node.obey(order)
    node.cuts.table.clear()
    node.start()
    node.cutter.follow()
    assert node.cuts.table[11].plan == order.plan_id


def test_a_source_is_denied_and_released(node: Node) -> None:
    order = node.order(DENY, source="203.0.113.0/24", action="rate", rate_pps=10, burst=10)
    answer = node.obey(order)
    assert [(one["source"], one["action"], one["rate_pps"]) for one in answer["after"]] == [
        ("203.0.113.0/24", "rate", 10)
    ]
    assert node.cutter.told(order.plan_id)[0]["live"]
    answer = node.obey(node.order(RELEASE, plan_id=order.plan_id))
    assert answer["before"][0]["hits"] == 0
    assert node.shield.entry(Match("203.0.113.0/24")) is None
    assert steps(node, order) == [Step.APPLIED, Step.UNDONE]


def test_two_plans_for_one_source_do_not_mix(node: Node) -> None:
    node.obey(node.order(DENY, source="2001:db8::/32"))
    assert refused(node, node.order(DENY, source="2001:db8::/32")) == "held"


def test_a_drop_may_lie_over_a_rate_which_is_met_again_when_it_goes(node: Node) -> None:
    slow = node.order(DENY, source="203.0.113.7", action="rate", rate_pps=10, burst=10)
    drop = node.order(DENY, source="203.0.113.7")
    for released, left in ((drop, slow), (slow, drop)):
        node.obey(slow := dataclasses.replace(slow, plan_id=f"{slow.plan_id}-"))
        node.obey(drop := dataclasses.replace(drop, plan_id=f"{drop.plan_id}-"))
        assert [one["under"] for one in node.cutter.told(slow.plan_id)] == [drop.plan_id]
        node.cutter.follow()  # the rate lies under it, and is not put back
        gone, stays = (drop, slow) if released.action == "drop" else (slow, drop)
        assert node.obey(node.order(RELEASE, plan_id=gone.plan_id))["after"] == []
        assert [one["action"] for one in node.cutter.told(stays.plan_id)] == [left.action]
        node.obey(node.order(RELEASE, plan_id=stays.plan_id))
        assert node.shield.entry(Match("203.0.113.7")) is None


def test_a_rate_never_lies_over_a_drop(node: Node) -> None:
    node.obey(node.order(DENY, source="203.0.113.7"))
    assert refused(node, node.order(DENY, source="203.0.113.7", action="rate", rate_pps=10, burst=10)) == "held"
