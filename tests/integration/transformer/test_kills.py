"""Killed by SIGKILL between the work and the answer: whoever sends it again under the same key has it done once."""

from pathlib import Path

import httpx
import pytest

from loomidi.services.transformer_api.handling import FAULTS
from tests.integration.transformer.running import SCAN, Service


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_before_the_answer_a_proposal_is_made_once_and_answered_the_same(tmp_path: Path, fault: str) -> None:
    service = Service(tmp_path)
    service.start_to_die(fault)
    identity = service.post("/analyze/anomaly", SCAN).json()["anomaly_id"]
    body = {"anomaly_id": identity}
    with pytest.raises(httpx.TransportError):
        service.post("/action/propose-fold", body, key="k")
    assert service.process is not None
    assert service.process.wait(30) == -9
    service.start()
    before = service.get("/decisions")["decisions"]
    assert len(before) == (2 if fault == "kept" else 0)
    again = service.post("/action/propose-fold", body, key="k")
    assert again.status_code == 200, again.text
    assert ("idempotent-replayed" in again.headers) is (fault == "kept")
    assert service.post("/action/propose-fold", body, key="k").json() == again.json()
    assert len(service.get("/decisions")["decisions"]) == 2
    service.kill()
