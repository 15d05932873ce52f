"""Orders from the operator's pods to the agents': a server is cut off on its own link by the chart alone, and let go.

The lab's bridge network enforces no policies, so whatever stops here is the agents' doing.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from loomidi.conductor.verbs.serve import agent
from tests.integration.lab.deployment.releases import Release, comes, kernel_of
from tests.integration.lab.deployment.shops import Shop

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
VALUES: Mapping[str, Any] = {
    "mode": "autonomous",
    "agent": {"channel": {"enabled": True}},
    "pipeline": {"propose": False},
}


@pytest.fixture(scope="module")
def ordering(release: Release, shop: Shop) -> Shop:
    if not any("--orders" in parameter.opts for parameter in agent.params):
        pytest.skip("this checkout's agent takes no orders")
    release.install(VALUES)
    shop.allow("ISOLATE_POD")
    return shop


def test_a_fold_cuts_a_pod_on_its_link_and_lets_it_go(ordering: Shop) -> None:
    address = ordering.pod("web")["status"]["podIP"]
    comes(lambda: ordering.answers(address))
    plan = ordering.isolate()
    status = ordering.reaches(plan, "Active", "Denied", "RolledBack")
    assert status["phase"] == "Active", status
    assert not ordering.answers(address)
    ordering.release(plan)
    ordering.reaches(plan, "Released")
    comes(lambda: ordering.answers(ordering.pod("web")["status"]["podIP"]))


def test_an_uninstall_lets_go_of_what_is_cut(ordering: Shop, release: Release) -> None:
    plan = ordering.isolate()
    ordering.reaches(plan, "Active")
    assert "loomidi-cuts" in str(kernel_of(release.lab))
    release.uninstall()
    assert ordering.status(plan)["phase"] == "Released"
    comes(lambda: kernel_of(release.lab), lambda found: "loomidi" not in str(found))
