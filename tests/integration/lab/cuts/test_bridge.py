"""A pod isolated through a Fold on real kubelets: packets stop at its own link, everybody else goes on, and back.

The lab's bridge network enforces no policies, so whatever stops here is the agents' doing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi_lab.cluster import Lab
from tests.integration.lab.cuts.rooms import Site, cut_and_back, eventually


@pytest.fixture(scope="module")
def undefined(cluster: Lab) -> Iterator[None]:
    """After the last of these tests the cluster knows no Folds: others install what defines them."""
    yield
    cluster.kubectl("delete", "crd", "folds.loomidi.io", "foldpolicies.loomidi.io", timeout_s=120, check=False)


@pytest.fixture
def site(cluster: Lab, undefined: None, namespace: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(cluster, namespace, tmp_path)
    site.establish()
    yield site
    cluster.kubectl("delete", "foldpolicy", namespace, check=False)


def test_a_fold_cuts_a_pod_on_its_link_at_once_and_nobody_else(site: Site) -> None:
    with site.agents(), site.operator(), site.talking() as talks:
        cut_and_back(site, talks)


@pytest.mark.lab_long
def test_where_no_agent_answers_the_rest_is_done_and_the_truth_is_told(site: Site) -> None:
    with site.operator(), site.talking() as talks:
        plan, status = site.granted(site.isolate)
        (cut,) = site.entries(status)
        assert (cut["node"], cut["made"]) == ("n2", False)
        assert "does not answer" in cut["why"]
        assert "not cut on n2" in str(status["conditions"])
        assert site.pod("target")["metadata"]["labels"]["loomidi.io/quarantine"]
        talks["far->target"].goes_on()  # this network enforces no policy: nothing is claimed, nothing is cut
        site.release(plan)
        site.reaches(plan, "Released")


@pytest.mark.lab_long
def test_where_the_cut_is_required_nothing_is_done_without_an_agent(site: Site) -> None:
    with site.operator("--agents-required"):
        plan, _ = site.granted(site.isolate, "Applying")
        assert "loomidi.io/quarantine" not in site.pod("target")["metadata"]["labels"]
        with site.agents():
            site.reaches(plan, "Active", seconds=60)
            assert site.told(site.lab.node("n2"), plan)
            site.release(plan)
            site.reaches(plan, "Released")


@pytest.mark.lab_long
def test_a_killed_agent_leaves_the_cut_and_its_successor_takes_it_up(site: Site) -> None:
    with site.agents() as agents, site.operator(), site.talking() as talks:
        plan, _ = site.granted(site.isolate)
        node = site.lab.node("n2")
        (before,) = site.told(node, plan)
        site.kill(agents["n2"])
        silent = talks["far->target"].answers()
        talks["far->other"].goes_on()
        assert talks["far->target"].answers() == silent
        with site.again(node):
            (after,) = site.told(node, plan)
            assert after["dropped_to"] > before["dropped_to"]
            assert after["first_hit_ns"] // 10**7 == before["first_hit_ns"] // 10**7
            site.release(plan)
            site.reaches(plan, "Released")
            talks["far->target"].goes_on()


@pytest.mark.lab_long
def test_the_cut_ends_on_time_when_operator_and_agent_are_gone(site: Site) -> None:
    with site.talking() as talks:
        with site.agents() as agents, site.operator():
            site.granted(lambda: site.isolate(ttl_s=30))
            silent = talks["far->target"].answers()
            for agent in agents.values():
                site.kill(agent)
        assert talks["far->target"].answers() == silent
        talks["far->target"].goes_on(50)
        talks["target->other"].goes_on()


@pytest.mark.lab_long
def test_an_outside_source_is_denied_on_every_node(site: Site) -> None:
    outside = "198.51.100.10"
    with site.agents(), site.operator(), site.talking() as talks:
        asked = site.asking(outside, "other")
        assert asked()
        plan, status = site.granted(lambda: site.deny(outside))
        assert {one["node"]: one["made"] for one in site.entries(status)} == {"n1": True, "n2": True}
        assert not asked()
        (met,) = site.told(site.lab.node("n1"), plan)
        assert met["dropped"] > 0
        for talk in talks.values():
            talk.goes_on()
        site.release(plan)
        site.reaches(plan, "Released")
        assert asked()


@pytest.mark.lab_long
def test_a_cut_is_verified_by_what_is_heard_at_the_pods_link_and_so_is_its_end(site: Site) -> None:
    site.listen({"name": "cut-off", "flows": {"peer": "*", "expect": "cut"}})
    with site.agents(), site.operator(), site.talking() as talks:
        plan, status = site.granted(site.isolate)
        told = probe(status, "cut-off")
        assert told == {"holds": True, "message": f"{site.namespace}/target: nothing passes"}
        talks["far->other"].goes_on()
        site.release(plan)
        site.reaches(plan, "Released")
        talks["far->target"].goes_on()
        eventually(lambda: back(site.status(plan)) == ("True", "Heard"), "what was cut is heard again")


@pytest.mark.lab_long
def test_where_nobody_hears_it_the_cut_is_taken_back(site: Site) -> None:
    site.listen({"name": "cut-off", "flows": {"peer": "*", "expect": "cut"}})
    with site.operator(), site.talking() as talks:
        _, status = site.granted(site.isolate, "RolledBack")
        assert "not heard: the agent of node n2 does not answer" in status["message"]
        talks["far->target"].goes_on()


@pytest.mark.lab_long
def test_where_packets_go_on_the_fold_is_taken_back(site: Site) -> None:
    outside = "198.51.100.10"
    site.listen({"name": "silent", "flows": {"peer": site.entity("other"), "expect": "cut"}})
    with site.agents(), site.operator(), site.calling(outside, "other"):
        _, status = site.granted(lambda: site.slow(outside), "RolledBack")
        assert "packets pass" in status["message"]
        assert f"from {outside}" in status["message"]


@pytest.mark.lab_long
def test_a_denied_source_is_silent_at_the_pod_and_heard_again_after(site: Site) -> None:
    outside = "198.51.100.10"
    site.listen({"name": "silent", "flows": {"peer": site.entity("other"), "expect": "cut"}})
    with site.agents(), site.operator(), site.calling(outside, "other"):
        plan, status = site.granted(lambda: site.deny(outside))
        assert probe(status, "silent")["holds"] is True
        site.release(plan)
        site.reaches(plan, "Released")
        eventually(lambda: back(site.status(plan)) == ("True", "Heard"), "the source is heard again")


def probe(status: dict[str, Any], name: str) -> dict[str, Any]:
    found = next(one for one in status["probes"] if one["name"] == name)
    return {key: found[key] for key in ("holds", "message")}


def back(status: dict[str, Any]) -> tuple[str, str]:
    found = next((one for one in status["conditions"] if one["type"] == "Back"), {"status": "", "reason": ""})
    return found["status"], found["reason"]
