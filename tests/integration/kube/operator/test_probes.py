"""A Fold stays only if what its policy probes by http answers: a pod of the cluster, a server of this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.kube.operator.stages import Stage


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthy" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize(("path", "phase"), [("healthy", "Active"), ("ill", "RolledBack")])
def test_a_fold_stays_if_the_pod_answers_and_is_taken_back_if_not(stage: Stage, path: str, phase: str) -> None:
    stage.room.merge(
        "/api/v1/namespaces/{}/pods/web-0/status", {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127-0-0-1.{stage.namespace}.pod:{server.server_port}/{path}"
        probes = [{"name": "up", "http": {"url": url, "withinMilliseconds": 10_000}}]
        stage.policy(verify={"stableForSeconds": 0, "timeoutSeconds": 1, "probes": probes})
        with stage.operator():
            plan = stage.propose(stage.scale())
            stage.reaches(plan, phase)
        server.shutdown()
    assert stage.as_before() is (phase == "RolledBack")
    (told,) = [one for one in stage.status(plan)["probes"] if one["name"] == "up"]
    assert told["holds"] is (phase == "Active")
