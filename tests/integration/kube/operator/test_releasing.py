"""What is done before the operator is uninstalled, and what its probes say, on the real API server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

from loomidi.services.folds.releasing import release_all
from tests.integration.kube.operator.stages import Stage


def ended(stage: Stage, wait_s: float = 20.0) -> list[str]:
    return release_all(stage.kubeconfig, {}, reason="a test", wait_s=wait_s, namespace=stage.namespace)


def test_what_is_in_force_is_taken_back_and_nothing_stays_open(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.scale())
        stage.reaches(plan, "Active")
        assert not stage.as_before()
        assert ended(stage) == []
    assert (stage.phase(plan), stage.as_before()) == ("Released", True)


def test_what_nobody_can_take_back_is_named(stage: Stage) -> None:
    plan = stage.propose(stage.scale())
    assert ended(stage, wait_s=0) == [f"{stage.namespace}/{plan.id} (not looked at yet)"]
    with stage.operator():
        stage.reaches(plan, "Denied")
    assert stage.as_before()


def test_a_replica_tells_whether_it_could_act(stage: Stage) -> None:
    words = [*("-m", "loomidi", "serve", "operator", "--kubeconfig", str(stage.kubeconfig)), "--probes", "0"]
    words += ["--namespace", stage.namespace]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        try:
            port = next(found[1] for line in process.stderr if (found := re.search(r"probes on port (\d+)", line)))
            until = time.monotonic() + 30
            while not (answer := asked(port, "/readyz"))["ready"]:
                assert time.monotonic() < until, answer
                time.sleep(0.1)
            while "loomidi_operator_leading 1" not in (answer := asked(port, "/metrics")):
                assert time.monotonic() < until, answer  # it is known who leads before it is us
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
        told = process.stderr.read()  # to its end: a log line must find somebody who reads it
    assert process.returncode == 0, told


def asked(port: str, path: str) -> dict[str, object]:
    """What it answers, whatever the status."""
    opener = urllib.request.build_opener(Answered())
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text = answer.read().decode()
    return json.loads(text) if path == "/readyz" else dict.fromkeys(text.splitlines())


class Answered(urllib.request.HTTPErrorProcessor):
    """503 is an answer too."""

    def http_response(self, request: urllib.request.Request, response: object) -> object:
        return response
