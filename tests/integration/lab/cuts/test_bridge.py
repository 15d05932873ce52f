"""A pod isolated through a Fold on real kubelets: packets stop at its own link, everybody else goes on, and back.

The lab's bridge network enforces no policies, so whatever stops here is the agents' doing.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loomidi_lab.cluster import Lab
from tests.integration.lab.cuts.rooms import Site, eventually


@pytest.fixture
def site(cluster: Lab, namespace: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(cluster, namespace, tmp_path)
    site.establish()
    yield site
    cluster.kubectl("delete", "foldpolicy", namespace, check=False)


def test_a_fold_cuts_a_pod_on_its_link_at_once_and_nobody_else(site: Site) -> None:
    with site.agents(), site.operator(), site.talking() as talks:
        eventually(lambda: "it acts" in site.log("operator").read_text(), "the operator is up")
        began_ns = time.time_ns()
        plan = site.isolate()
        status = site.reaches(plan, "Active")
        eventually(lambda: site.told(site.lab.node("n2"), plan)[0]["dropped_to"] > 0, "packets to it are dropped")
        (entry,) = site.told(site.lab.node("n2"), plan)
        silent = {name: talks[name].answers() for name in ("far->target", "beside->target", "target->other")}
        for name in ("beside->far", "far->other"):
            talks[name].goes_on()
        assert {name: talks[name].answers() for name in silent} == silent
        assert "cut at once on n2" in status["message"] + str(status["conditions"])
        last_ns = max(last for _, last in silent.values())
        print(
            f"\nFold posted -> first packet dropped {(entry['first_hit_ns'] - began_ns) / 1e6:.1f} ms, "
            f"-> last answer {(last_ns - began_ns) / 1e6:.1f} ms"
        )
        site.release(plan)
        site.reaches(plan, "Released")
        for talk in talks.values():
            talk.goes_on()
        assert site.told(site.lab.node("n2"), plan) == []
