"""The driver and the nodes' agents: the cut first, the truth told, nothing claimed that was not made.

The agents are the real ones in memory (`tests.unit.services.cutting_rooms`), behind the real client.
"""

import dataclasses
import email.utils
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from loomidi.contracts import FoldKind, FoldSpec, Match, Plan
from loomidi.ionic.act.kube import Agents, AgentSettings, KubeApi, KubeDriver, Patience
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import AgentAway, NotActing, OrderRefused
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER, approved
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS, a_plan
from tests.unit.services.cutting_rooms import CART, SEALER, Node

POD = "/api/v1/namespaces/shop/pods/cart-0"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"


class Stage:
    """A cluster of one pod on one node with its agent."""

    def __init__(self, state: Path, *, required: bool = False) -> None:
        self.fake, self.node, self.away = FakeApi(), Node(state), type[Exception] | None
        self.away = None
        self.node.clock.move(0)
        clock = ManualClock(NOW_NS)
        self.node.clock, self.node.cuts._clock = clock, clock
        self.node.start()
        self.fake.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop"}})
        self.fake.put(POD, _pod())
        for name, address in (("n1", "10.0.0.11"), ("n2", "10.0.0.12")):
            status = {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}
            self.fake.put(f"/api/v1/nodes/{name}", {"metadata": {"name": name}, "status": status})
        transport, settings = httpx.MockTransport(self._answer), AgentSettings(required=required)
        self.agents = Agents(SEALER, lambda: 5, settings, transport=transport, clock=clock)
        self.api = KubeApi(self.fake.client(), Patience(tries=1), clock=clock)
        self.driver = KubeDriver(self.api, SIGNER, agents=self.agents, clock=clock)
        self.seen: list[str] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.away is not None or request.url.host != "10.0.0.11":
            raise (self.away or httpx.ConnectError)("told to be away")
        if request.url.path.endswith("/orders"):
            self.seen.append(f"quarantined: {'loomidi.io/quarantine' in self.labels()}")
            try:
                return httpx.Response(200, json=self.node.cutter.obey(json.loads(request.content)))
            except OrderRefused as error:
                return httpx.Response(403, json={"detail": str(error), "order": error.reason})
        plan, cutter = request.url.params["plan"], self.node.cutter
        plans = {one: cutter.told(one) for one in cutter.plans() if plan in ("", one)}
        return httpx.Response(200, json={"plans": plans, "known": bool(plan and cutter.receipts(plan))})

    def labels(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.fake.objects[POD]["metadata"]["labels"]
        return found

    def apply(self, plan: Plan) -> Mapping[str, Any]:
        self.inverse = dict(self.driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}
        return self.driver.apply(plan, approved(plan))

    def undo(self) -> Mapping[str, Any]:
        return self.driver.undo(self.inverse)


def _pod() -> dict[str, Any]:
    return {
        "metadata": {"name": "cart-0", "namespace": "shop", "uid": CART.uid, "labels": {"app": "cart"}},
        "spec": {"nodeName": "n1"},
        "status": {"hostIP": "10.0.0.11", "podIPs": [{"ip": "10.1.0.5"}, {"ip": "fd00::5"}]},
    }


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def isolation(**more: Any) -> Plan:
    fold = FoldSpec(FoldKind.ISOLATE_POD, "pod/shop/cart-0", "isolate", ttl_s=300.0, undo="in the receipt", **more)
    return a_plan(fold=fold)


def denial(action: str = "drop", source: str = "203.0.113.7", target: str = "", **more: Any) -> Plan:
    fold = FoldSpec(
        FoldKind.RECONFIGURE_NETWORK,
        target or f"host/{source}",
        action,
        match=Match(source=source),
        ttl_s=300.0,
        **more,
    )
    return a_plan(fold=fold)


def test_the_pod_is_cut_before_its_labels_change(stage: Stage) -> None:
    plan = isolation()
    done = stage.apply(plan)
    assert stage.seen == ["quarantined: False"]
    assert "loomidi.io/quarantine" in stage.labels()
    assert done["told"] == "cut at once on n1"
    assert done["cuts"][0]["spares"] == ["10.0.0.1", "169.254.1.1/32"]
    cut = stage.node.cuts.table[11]
    assert (cut.pod, cut.plan, cut.address) == (CART.uid, plan.id, "10.1.0.5")


def test_verify_reads_back_from_the_node_and_undo_releases(stage: Stage) -> None:
    plan = isolation()
    stage.apply(plan)
    assert stage.driver.verify(plan) == {
        "holds": True,
        "found": "3 as the plan wants them; in force on node n1, 0 packets met",
    }
    assert stage.undo()["undone"] is True
    assert stage.node.cuts.table == {}
    assert stage.labels() == {"app": "cart"}


def test_the_inverse_names_the_node_and_the_end(stage: Stage) -> None:
    plan = isolation()
    stage.apply(plan)
    (cut,) = [one for one in stage.inverse["changes"] if one["change"] == "cut"]
    assert (cut["node"], cut["address"]) == ("n1", "10.0.0.11")
    assert cut["until_ns"] == stage.inverse["at_ns"] + 310 * 10**9
    assert stage.inverse["changes"][0] is cut


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout])
def test_without_an_agent_the_rest_is_done_and_the_truth_is_told(stage: Stage, error: type[Exception]) -> None:
    plan, stage.away = isolation(), error
    done = stage.apply(plan)
    assert done["told"].startswith("not cut on n1: the agent of node n1 does not answer")
    assert "loomidi.io/quarantine" in stage.labels()
    found = stage.driver.verify(plan)
    assert found["holds"] is True
    assert "not known to be cut on node n1" in found["found"]


def test_a_refusal_of_the_agent_is_told_in_its_words(stage: Stage) -> None:
    stage.node.pods.pods.clear()
    done = stage.apply(isolation())
    assert done["cuts"][0]["made"] is False
    assert "order refused (no-pod)" in done["told"]


def test_an_undo_waits_for_a_node_that_may_have_the_cut(stage: Stage) -> None:
    plan, stage.away = isolation(), httpx.ReadTimeout  # it may have been carried out
    stage.apply(plan)
    assert stage.undo()["undone"] is False
    stage.away = None
    assert stage.undo()["undone"] is True


def test_an_undo_does_not_wait_for_a_node_that_never_heard_of_it(stage: Stage) -> None:
    plan, stage.away = isolation(), httpx.ConnectError
    stage.apply(plan)
    undone = stage.undo()
    assert undone["undone"] is True
    assert "not released" in str(undone["left"])


def test_an_undo_waits_no_longer_than_the_cut_can_last(stage: Stage) -> None:
    plan = isolation()
    stage.apply(plan)
    stage.away = httpx.ReadTimeout
    assert stage.undo()["undone"] is False
    stage.node.clock.move(311 * 10**9)
    assert stage.undo()["undone"] is True


def test_a_clock_that_jumped_ahead_ends_nothing_that_an_agent_still_has(stage: Stage) -> None:
    stage.apply(isolation())
    right, stage.agents.clock = stage.agents.clock, ManualClock(NOW_NS + 400 * 10**9)
    assert stage.undo()["undone"] is False  # the agent finds its order stale
    assert stage.node.cuts.table
    stage.agents.clock = right
    assert stage.undo()["undone"] is True
    assert stage.node.cuts.table == {}


def test_a_clock_that_jumped_ahead_ends_nothing_at_a_node_that_is_away(stage: Stage) -> None:
    stage.apply(isolation())
    stage.away = httpx.ReadTimeout
    stage.api._clock = ManualClock(NOW_NS + 400 * 10**9)
    stage.fake.date = email.utils.formatdate(NOW_NS / 1e9, usegmt=True)
    assert stage.undo()["undone"] is False  # the API server says that its time is not over
    stage.fake.date = email.utils.formatdate(NOW_NS / 1e9 + 312, usegmt=True)
    assert stage.undo()["undone"] is True


def test_a_cut_that_somebody_took_back_does_not_hold(stage: Stage) -> None:
    plan = isolation()
    stage.apply(plan)
    stage.node.cutter._held.clear()
    found = stage.driver.verify(plan)
    assert found == {"holds": False, "found": "no longer in force on node n1"}


def test_where_it_is_required_nothing_is_done_without_the_agent(tmp_path: Path) -> None:
    stage = Stage(tmp_path, required=True)
    stage.away = httpx.ConnectError
    with pytest.raises(AgentAway):
        stage.apply(isolation())
    assert stage.labels() == {"app": "cart"}
    assert POLICIES not in str(list(stage.fake.objects))


def test_a_pod_that_runs_nowhere_is_not_cut_and_refused_where_it_must_be(tmp_path: Path) -> None:
    for required in (False, True):
        stage = Stage(tmp_path, required=required)
        stage.fake.put(POD, _pod() | {"spec": {}, "status": {}})
        refused = stage.driver.check(isolation().fold)
        assert (refused is not None) is required


def test_a_source_is_denied_on_every_node_and_who_was_missing_is_told(stage: Stage) -> None:
    plan = denial()
    done = stage.apply(plan)
    assert {one["node"]: one["made"] for one in done["cuts"]} == {"n1": True, "n2": False}
    assert done["told"].startswith("cut at once on n1; not cut on n2")
    assert stage.node.shield.entry(Match("203.0.113.7")) is not None
    assert stage.undo()["undone"] is True
    assert stage.node.shield.entry(Match("203.0.113.7")) is None


def test_a_rate_is_carried_out_by_the_agents_alone(stage: Stage) -> None:
    stage.apply(denial("rate", rate_pps=50, target="node/n1"))
    found = stage.node.shield.entry(Match("203.0.113.7"))
    assert found is not None
    assert (found.deny.action, found.deny.rate_pps, found.deny.burst) == ("rate", 50, 50)


@pytest.mark.parametrize("source", ["10.0.0.12", "10.0.0.0/8", "::ffff:10.0.0.11"])
def test_a_source_that_holds_a_node_is_refused(stage: Stage, source: str) -> None:
    assert "is protected" in str(stage.driver.check(denial(source=source).fold))


def test_what_an_agent_could_only_widen_is_left_to_the_policy(stage: Stage) -> None:
    plan = denial()
    match = Match("203.0.113.7", "10.1.0.5", 0, 80, 6)
    assert "no NetworkPolicy" in str(stage.driver.check(dataclasses.replace(plan.fold, match=match)))


def test_without_agents_nothing_is_changed_in_what_the_driver_does(stage: Stage) -> None:
    driver = KubeDriver(stage.api, SIGNER, clock=ManualClock(NOW_NS))
    assert [one["change"] for one in driver.inverse(isolation().fold)["changes"]] == ["create", "edit"]
    with pytest.raises(NotActing, match="cannot rate"):
        driver.inverse(denial("rate", rate_pps=5).fold)
