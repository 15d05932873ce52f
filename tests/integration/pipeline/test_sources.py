"""Sources of the configuration end in the lake: log files, Prometheus targets, the agent's links."""

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.pipeline.running import Pipeline, eventually
from tests.integration.pipeline.test_run import balanced

pytestmark = pytest.mark.required

FALCO = {
    "uuid": "0f2a6e60-0000-4000-8000-000000000000",
    "output": "A shell was spawned",
    "priority": "Notice",
    "rule": "Terminal shell in container",
    "source": "syscall",
    "time": "2026-11-26T03:00:00.123456789Z",
    "output_fields": {"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "user.name": "root"},
}


class Exposed(http.server.BaseHTTPRequestHandler):
    """A target with one gauge."""

    def do_GET(self) -> None:
        body = b"# TYPE queue_depth gauge\nqueue_depth 7\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def target() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exposed)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"shop=http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_log_file_and_a_target_are_followed_and_a_killed_pipeline_doubles_no_line(
    pipeline: Pipeline, tmp_path: Path, target: str
) -> None:
    log = tmp_path / "falco.json"
    log.write_text("".join(json.dumps({**FALCO, "uuid": f"first-{n}"}) + "\n" for n in range(20)))
    pipeline.environment |= {
        "LOOMIDI_SOURCES_FALCO": str(log),
        "LOOMIDI_SOURCES_PROMETHEUS": target,
        "LOOMIDI_SOURCES_SCRAPE_EVERY_S": "1",
        "LOOMIDI_SOURCES_SCRAPE_TIMEOUT_S": "1",
    }
    pipeline.start()
    counted = "select count(*) as n, count(distinct event_id) as ids, max(entity) as entity from events"
    eventually(
        lambda: (
            [row for row in pipeline.query(counted) if row["n"]] == [{"n": 20, "ids": 20, "entity": "pod/shop/cart-0"}]
        ),
        "the alerts",
    )
    depth = "select distinct value from metrics where metric_name = 'queue_depth'"
    assert eventually(lambda: pipeline.query(depth), "the target's gauge") == [{"value": 7.0}]

    pipeline.kill()
    with log.open("a") as more:
        more.writelines(json.dumps({**FALCO, "uuid": f"second-{n}"}) + "\n" for n in range(5))
    pipeline.start()
    eventually(lambda: [row["n"] for row in pipeline.query(counted)] == [25], "the alerts of meanwhile")
    assert pipeline.query(counted)[0]["ids"] == 25
    balanced(pipeline)


@pytest.mark.kernel
def test_the_links_of_the_agent_are_metered_to_the_packet(pipeline: Pipeline) -> None:
    netns = f"lmp{os.getpid()}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    try:
        inside = ["ip", "netns", "exec", netns]
        subprocess.run([*inside, "ip", "link", "add", "a0", "type", "veth", "peer", "name", "b0"], check=True)
        for command in (
            ["addr", "add", "10.9.9.1/24", "dev", "a0"],
            ["link", "set", "a0", "up"],
            ["link", "set", "b0", "up"],
        ):
            subprocess.run([*inside, "ip", *command], check=True)
        pipeline.environment |= {
            "LOOMIDI_AGENT_LINKS": "a0",
            "LOOMIDI_AGENT_NETNS": netns,
            "LOOMIDI_AGENT_IDLE_S": "1",
            "LOOMIDI_AGENT_CAPTURE": "sockets",
        }
        pipeline.start()
        eventually(pipeline.ready, "the agent to meter")
        send = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        send += "[s.sendto(b'x', ('10.9.9.7', 9)) for _ in range(50)]"
        neighbour = ["ip", "neigh", "add", "10.9.9.7", "lladdr", "02:00:00:00:00:07", "dev", "a0"]
        subprocess.run([*inside, *neighbour], check=True)
        subprocess.run([*inside, "python3", "-c", send], check=True)
        sent = "select sum(packet_delta_count) as packets from flows where destination_transport_port = 9"
        eventually(lambda: pipeline.query(sent) == [{"packets": 50}], "50 packets in flows")
        assert pipeline.stop() == 0
        pipeline.start("bus,commit")
        balance = balanced(pipeline)
        assert any(each["stage"] == "meter" and "a0" in str(each["place"]) for each in balance)
    finally:
        subprocess.run(["ip", "netns", "del", netns], check=False)
