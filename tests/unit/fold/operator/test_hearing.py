"""The probe `flows`, by what agents answer: silence is only known where it was listened to."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from loomidi.contracts import FoldKind, Mode
from loomidi.fold.operator.hearing import heard
from loomidi.fold.operator.probing import Scene
from loomidi.fold.operator.views import View
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.errors import AgentAway
from tests.unit.fold.operator.fakes import Stage, a_stage
from tests.unit.fold.operator.test_reconciling import policy
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS
from tests.unit.ionic.object_plans import an_object_plan

S = 10**9
POD = "/api/v1/namespaces/shop/pods/cart-0"
LIVE: dict[str, Any] = {
    "metadata": {"name": "cart-0", "namespace": "shop", "uid": "uid-cart"},
    "spec": {"nodeName": "n2"},
    "status": {"hostIP": "10.0.0.2", "podIPs": [{"ip": "10.1.0.5"}]},
}


def counts(to: int = 0, sent: int = 0, ago_s: float = 0.0, *, own: bool = False) -> dict[str, Any]:
    at_ns = NOW_NS - round(ago_s * S)
    return {"to": to, "to_ns": at_ns, "from": sent, "from_ns": at_ns, "own": own}


class Agents:
    """One node's agent, with the answer that it gives."""

    def __init__(self, cut: bool = True, listened_s: float = 9.0, lost_s: float = 99.0, **peers: Any) -> None:
        self.asked: list[tuple[str, ...]] = []
        times = {"since_ns": NOW_NS - round(listened_s * S), "now_ns": NOW_NS, "lost_ns": NOW_NS - round(lost_s * S)}
        named = {name.replace("_", "."): told for name, told in peers.items()}
        self.answer: dict[str, Any] = {"node": "n2", "cut": cut, "peers": named, **times}

    def heard(self, node: str, address: str, pod: str, peers: Sequence[str]) -> dict[str, Any]:
        self.asked.append((node, address, pod, *peers))
        return self.answer


def ask(agents: Any, expect: str = "cut", peer: str = "*", target: str = "pod/shop/cart-0") -> tuple[bool, str]:
    api = FakeApi()
    api.put(POD, LIVE)
    plan = an_object_plan(FoldKind.ISOLATE_POD, Mode.AUTONOMOUS, target=target)
    scene = Scene(View({"metadata": {}, "spec": {}}), plan, (), KubeApi(api.client()))
    return heard(agents)({"peer": peer, "expect": expect}, scene)


@pytest.mark.parametrize(
    ("given", "holds", "words"),
    [
        ({}, True, "nothing passes"),
        ({"1_2_3_4": counts(to=2)}, False, "2 from 1.2.3.4"),
        ({"1_2_3_4": counts(to=2, ago_s=4.0)}, True, "nothing passes"),
        ({"1_2_3_4": counts(sent=9)}, True, "nothing passes"),
        ({"1_2_3_4": counts(sent=9), "cut": False}, False, "9 to 1.2.3.4"),
        ({"10_0_0_2": counts(to=9, own=True)}, True, "nothing passes"),
        ({"listened_s": 1.0}, False, "silent for 1.0 s of 3"),
        ({"lost_s": 1.0}, False, "silence is not known"),
    ],
)
def test_cut_holds_once_it_was_listened_and_nothing_passed(given: Mapping[str, Any], holds: bool, words: str) -> None:
    told = ask(Agents(**given))
    assert told[0] is holds
    assert words in told[1]


@pytest.mark.parametrize(
    ("given", "holds"),
    [({}, False), ({"1_2_3_4": counts(to=1, ago_s=8)}, True), ({"1_2_3_4": counts(to=1, ago_s=11)}, False)],
)
def test_pass_holds_while_something_is_heard(given: Mapping[str, Any], holds: bool) -> None:
    assert ask(Agents(cut=False, **given), "pass")[0] is holds


@pytest.mark.parametrize("expect", ["cut", "pass"])
def test_what_cannot_be_heard_does_not_hold(expect: str) -> None:
    class Away(Agents):
        def heard(self, *_: Any) -> dict[str, Any]:
            raise AgentAway("the agent of node n2 does not answer")

    broken = Agents()
    broken.answer = {"peers": {}}
    for agents in (None, Away(), broken):
        assert ask(agents, expect)[0] is False
    assert ask(Agents(), expect, target="pod/shop/gone")[0] is False
    assert ask(Agents(), expect, peer="workload/shop/web") == (
        False,
        "not heard: workload/shop/web has no address to listen for; name a host, network, pod, service or node",
    )


def test_it_is_listened_at_the_end_that_is_a_pod_for_the_other() -> None:
    agents = Agents()
    ask(agents, peer="network/192.0.2.0/24")
    ask(agents, peer="pod/shop/cart-0", target="host/192.0.2.7")
    where = ("n2", "10.0.0.2", "uid-cart")
    assert agents.asked == [(*where, "192.0.2.0/24"), (*where, "192.0.2.7")]


def hearing(answers: Sequence[bool]) -> tuple[Stage, list[str]]:
    """A stage whose probe `quiet` answers so, one after the other, then the last for ever; and what it was asked."""
    stage, left, asked = a_stage(), list(answers), list[str]()
    stage.policies = [
        policy(
            verify={
                "stableForSeconds": 3,
                "timeoutSeconds": 10,
                "probes": [{"name": "quiet", "flows": {"peer": "*", "expect": "cut"}}],
            }
        )
    ]

    def probe(one: Any, view: Any, plan: Any) -> tuple[bool, str]:
        asked.append(one["flows"]["expect"])
        return (left.pop(0) if len(left) > 1 else left[0]), "as told"

    stage.probe = probe
    return stage, asked


def test_a_fold_is_taken_back_when_packets_go_on_and_stays_once_they_stop() -> None:
    stage, _ = hearing([False])
    stage.until("RolledBack")
    assert "quiet: as told" in stage.fold["status"]["message"]
    stage, _ = hearing([False, True, False, True])
    stage.until("Active")
    told = next(one for one in stage.fold["status"]["probes"] if one["name"] == "quiet")
    assert told["holds"] is True


@pytest.mark.parametrize(("heard_again", "status"), [(True, "True"), (False, "False")])
def test_once_it_is_taken_back_it_is_noted_whether_packets_pass_again(heard_again: bool, status: str) -> None:
    stage, asked = hearing([True])
    stage.until("Active")
    stage.probe = lambda one, *_: (heard_again and one["flows"]["expect"] == "pass", "as told")
    stage.until("Released")
    for _ in range(40):
        stage.clock.sleep(stage.once() or 0)
    (back,) = [one for one in stage.fold["status"]["conditions"] if one["type"] == "Back"]
    assert (back["status"], stage.fold["metadata"]["finalizers"]) == (status, [])
    assert set(asked) == {"cut"}


def test_after_the_end_nobody_is_waited_for_whom_nobody_can_hear() -> None:
    stage, _ = hearing([True])
    stage.until("Active")
    stage.probe = lambda *_: (False, "not heard: the agent of node n2 does not answer")
    stage.until("Released")
    assert (stage.once(), stage.once()) == (0.0, None)
    assert stage.fold["metadata"]["finalizers"] == []
