"""Findings into Folds: once at a time, the gentlest first, nothing lost while the API server is away."""

import dataclasses
import threading
from typing import Any

import httpx
import pytest

from loomidi.contracts import Finding, Mode, Replay, Severity
from loomidi.fold.resources.objects import moment, plan_of
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import ClusterAway, ClusterRejects
from loomidi.kit.clock import ManualClock
from loomidi.services.folds.folding import Folding
from loomidi.services.folds.planning import decider_over, planned
from loomidi.services.settings.answers import FoldingSettings
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS, a_finding

FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/default/folds"
SECOND = 1_000_000_000


class Cluster(FakeApi):
    """One that says when an object was made, as the API does; all its Folds have the same target."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(NOW_NS)
        self.folding = Folding(self.client(), FoldingSettings(rest_s=30.0), self.clock)

    def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        made = {"creationTimestamp": moment(self.clock.now_ns())} | obj["metadata"]
        return super().put(path, obj | {"metadata": made})

    def propose(self, **changes: Any) -> str:
        finding = a_finding("vertical_scan", last_ns=self.clock.now_ns(), **changes)
        return self.folding.propose(finding, planned(finding, decider_over(None, (), self.clock)))

    def end(self, phase: str) -> None:
        for path, fold in list(self.objects.items()):
            super().put(path, fold | {"status": {"phase": phase}})

    @property
    def actions(self) -> list[str]:
        return [fold["spec"]["action"] for fold in self.objects.values()]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_the_gentlest_fold_is_proposed_with_its_plan(cluster: Cluster) -> None:
    assert cluster.propose() == "proposed"
    (fold,) = cluster.objects.values()
    assert (fold["spec"]["action"], fold["spec"]["mode"]) == ("rate", "shadow")
    assert plan_of(fold).id == fold["metadata"]["name"]


def test_while_one_is_at_work_no_other_is_proposed(cluster: Cluster) -> None:
    cluster.propose()
    assert [cluster.propose(), cluster.propose()] == ["in_force", "in_force"]
    assert len(cluster.objects) == 1


def test_after_one_that_did_not_help_the_next_harder_is_proposed_once_it_has_rested(cluster: Cluster) -> None:
    cluster.propose()
    cluster.end("Released")
    assert cluster.propose() == "resting"
    cluster.clock.move(31 * SECOND)
    assert cluster.propose() == "proposed"
    assert cluster.actions == ["rate", "drop"]


def test_what_was_refused_while_it_was_milder_is_proposed_again_at_once(cluster: Cluster) -> None:
    cluster.propose(severity=Severity.LOW)
    cluster.end("Denied")
    assert cluster.propose(severity=Severity.LOW) == "resting"
    assert cluster.propose(severity=Severity.HIGH) == "proposed"


def test_what_was_seen_long_ago_is_history(cluster: Cluster) -> None:
    finding = a_finding("vertical_scan", last_ns=NOW_NS - 61 * SECOND)
    folds = planned(finding, decider_over(None, (), cluster.clock))
    assert cluster.folding.propose(finding, folds) == "stale"


def test_what_the_guards_refuse_is_not_proposed(cluster: Cluster) -> None:
    finding = a_finding("vertical_scan", last_ns=NOW_NS)
    refused = [
        dataclasses.replace(one, allowed=False) for one in planned(finding, decider_over(None, (), cluster.clock))
    ]
    assert cluster.folding.propose(finding, refused) == "denied_by_guards"
    assert not cluster.objects


@pytest.mark.parametrize("failure", [503, 429, httpx.ConnectError("away")])
def test_an_api_that_is_away_is_told_as_such(cluster: Cluster, failure: Any) -> None:
    cluster.failures["POST"] = [failure]
    with pytest.raises(ClusterAway, match="tried again later"):
        cluster.propose()


def test_a_fold_that_the_api_refuses_says_in_whose_words(cluster: Cluster) -> None:
    cluster.failures["POST"] = [403]
    with pytest.raises(ClusterRejects, match=r"told to fail.*deployments/rbac"):
        cluster.propose()


def test_a_lost_answer_makes_no_second_fold(cluster: Cluster) -> None:
    cluster.lost = ["POST"]
    with pytest.raises(ClusterAway):
        cluster.propose()
    assert cluster.propose() == "in_force"


def run_until(cluster: Cluster, finding: Finding, outcome: str) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=cluster.folding.run, args=(stop,))
    cluster.folding.offer(finding, planned(finding, decider_over(None, (), cluster.clock)))
    thread.start()
    while not cluster.folding.counts[outcome]:
        stop.wait(0.01)
    stop.set()
    thread.join()


def test_what_was_found_while_the_api_was_away_is_proposed_when_it_is_back(cluster: Cluster) -> None:
    cluster.failures["GET"] = [503]
    run_until(cluster, a_finding("vertical_scan", last_ns=NOW_NS), "proposed")
    assert cluster.actions == ["rate"]


def test_a_refusal_is_counted_and_keeps_nobody_waiting(cluster: Cluster) -> None:
    cluster.failures["POST"] = [422]
    run_until(cluster, a_finding("vertical_scan", last_ns=NOW_NS), "refused")
    told = [one for one in cluster.folding.samples() if one.name == "loomidi_folding_total"]
    assert {sample.labels["what"]: sample.value for sample in told} == {"refused": 1}


@pytest.mark.parametrize(
    ("mode", "seconds"), [("shadow", 60), ("suggest", 1200), ("guarded", 1200), ("autonomous", 60)]
)
def test_where_people_are_asked_a_plan_lasts_until_they_can_have_answered(mode: str, seconds: float) -> None:
    """A policy gives them 600 s, and whom it hands on to as many again."""
    assert FoldingSettings(mode=Mode(mode)).valid_s == seconds


def test_a_fold_is_posted_with_what_it_would_have_cut_of_late() -> None:
    cluster = Cluster()
    told = Replay(state="measured", since_ns=1, until_ns=2, rows=9, peers=1, named=("host/10.0.0.1",))
    cluster.folding = Folding(cluster.client(), FoldingSettings(), cluster.clock, look_back=lambda fold: told)
    cluster.propose()
    (fold,) = cluster.objects.values()
    assert plan_of(fold).blast_radius.replay == told
    assert plan_of(fold).id == fold["metadata"]["name"] == plan_id(plan_of(fold))
    assert cluster.folding.counts["replayed"] == 1


def attack(number: int, cluster: Cluster) -> Finding:
    entities = (f"host/192.0.2.{number}", "service/10.0.0.1:22/tcp")
    times = {"first_ns": NOW_NS, "last_ns": cluster.clock.now_ns()}
    return a_finding("brute_force", id=f"finding-{number}", entities=entities, techniques=("T1110",), **times)


def test_a_storm_is_answered_once_for_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, asked = Cluster(), list[tuple[str, list[str]]]()
    decider = decider_over(None, (), cluster.clock)
    plan = lambda finding, where: planned(finding, decider, where)  # noqa: E731
    cluster.folding = Folding(cluster.client(), FoldingSettings(), cluster.clock, plan=plan)
    said = lambda finding, folds: asked.append((finding.id, [one.fold.target for one in folds])) or "proposed"  # noqa: E731
    monkeypatch.setattr(cluster.folding, "propose", said)
    for number in range(1, 30):
        finding = attack(number, cluster)
        cluster.folding.offer(finding, planned(finding, decider))
    for _ in range(5):
        cluster.folding.once()
    kinds = [name.partition("-")[0] for name, _ in asked]
    assert kinds == ["finding"] * 3 + ["incident"]  # three came before it was one
    assert asked[-1][1] == ["service/10.0.0.1:22/tcp"]


def test_a_second_word_about_the_same_source_is_spoken_for() -> None:
    cluster = Cluster()
    decider = decider_over(None, (), cluster.clock)
    first = attack(1, cluster)
    second = dataclasses.replace(first, id="finding-other", pattern="vertical_scan", techniques=("T1046",))
    for finding in (first, second):
        cluster.folding.offer(finding, planned(finding, decider))
    told = {one.labels["what"]: one.value for one in cluster.folding.samples() if "grouping" in one.name}
    assert (told["incidents"], told["findings"], told["spoken_for"]) == (1, 2, 1)
