"""The service killed by SIGKILL in the middle of a change: store and OPA agree after the next start."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loomidi.ionic.policies import FAULTS
from tests.integration.policy.running import OpaServer, Service, rego, until

# Every point is passed in the unit tests, with an engine in memory; the worst of them here each time too.
SHORT = ("applied_unverified",)
OLD, NEW = rego("killed.a"), rego("killed.a", ":edge")
PLACE = "loomidi/policy/killed"


@pytest.fixture
def own(opa: Path, tmp_path: Path) -> Iterator[OpaServer]:
    """An OPA server that the test may end."""
    found = OpaServer(tmp_path, program=opa)
    yield found.start()
    found.kill()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=() if name in SHORT else pytest.mark.lab_long)
        for name in FAULTS
        if "undone" not in name
    ],
)
def test_killed_in_a_deploy_store_and_opa_agree_after_the_next_start(
    own: OpaServer, tmp_path: Path, fault: str
) -> None:
    service = Service(tmp_path, opa=own.url)
    service.start_to_die(fault)
    assert service.deploy("killed", OLD).json()["status"] == "Active"
    with pytest.raises(httpx.TransportError):
        service.deploy("killed", NEW)
    assert service.process is not None
    assert service.process.wait(30) == -9
    service.start()
    expected = NEW if fault == "recorded" else OLD
    told = service.get("/policy/status/killed")
    assert (told["status"], own.policies()) == ("Active", {PLACE: expected})
    number = told["version"]["version"]
    assert service.get(f"/policy/killed/versions/{number}")["policy_content"] == expected
    assert service.deploy("killed", NEW).json()["status"] == "Active"
    service.kill()


def test_an_opa_that_starts_again_is_given_what_is_in_force(own: OpaServer, tmp_path: Path) -> None:
    service = Service(tmp_path, opa=own.url).start()
    service.deploy("killed", OLD)
    own.kill()
    told = service.get("/policy/status/killed")
    assert (told["status"], "does not answer" in told["reasons"][0]) == ("Error", True)
    assert service.deploy("killed", NEW).json()["reason"] == "engine-away"
    own.start()
    until(lambda: own.policies() == {PLACE: OLD}, "OPA has its policy again")
    service.kill()
