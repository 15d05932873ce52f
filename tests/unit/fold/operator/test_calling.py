"""The probe `http`, against a server on the loopback: what holds, what does not, and where it never goes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from loomidi.fold.operator.calling import call
from loomidi.fold.operator.policing import leave_for
from loomidi.fold.operator.probing import ASKERS, probe
from loomidi.fold.operator.views import View
from loomidi.ionic.act.kube.api import KubeApi
from tests.unit.fold.operator.fakes import a_stage
from tests.unit.fold.operator.test_policing import AROUND, policy
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import a_plan


class Server(ThreadingHTTPServer):
    """Keeps what it was asked; `/slow` answers once it is let go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hosts: list[str] = []
        self.let_go = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        if self.path == "/slow":
            self.server.let_go.wait()
        self.send_response({"/": 200, "/gone": 404, "/away": 302}.get(self.path, 200))
        self.send_header("Location", "http://192.0.2.1/")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.let_go.set()
        running.shutdown()


@pytest.fixture
def api() -> KubeApi:
    fake = FakeApi()
    for name, address in (("web", "127.0.0.1"), ("headless", "None"), ("named", "")):
        fake.put(f"/api/v1/namespaces/shop/services/{name}", {"metadata": {}, "spec": {"clusterIP": address}})
    fake.put("/api/v1/namespaces/shop/pods/a", {"metadata": {}, "status": {"podIP": "127.0.0.1"}})
    return KubeApi(fake.client())


@pytest.mark.parametrize(
    ("host", "path", "more", "holds"),
    [
        ("web.shop.svc", "/", {}, True),
        ("web.shop.svc.cluster.local", "/", {}, True),
        ("127-0-0-1.shop.pod", "/", {}, True),
        ("web.shop.svc", "/gone", {}, False),
        ("web.shop.svc", "/gone", {"status": 404}, True),
        ("web.shop.svc", "/away", {"status": 302}, True),
    ],
)
def test_what_answers_as_it_shall_holds(
    server: Server, api: KubeApi, host: str, path: str, more: dict[str, Any], holds: bool
) -> None:
    place = f"{host}:{server.server_port}"
    assert call({"url": f"http://{place}{path}", "withinMilliseconds": 60_000} | more, api)[0] is holds
    assert server.hosts == [place]


def test_what_is_too_slow_does_not_hold(server: Server, api: KubeApi) -> None:
    holds, why = call({"url": f"http://web.shop.svc:{server.server_port}/slow", "withinMilliseconds": 50}, api)
    assert not holds
    assert why.endswith("did not answer within 50 ms") or "Timeout" in why


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "example.org", "web.shop", "none.shop.svc", "headless.shop.svc", "named.shop.svc",
     "127-0-0-2.shop.pod", "127-0-0-1.other.pod", "web.shop.svc.example.org"],
)  # fmt: skip
def test_nothing_but_services_and_pods_of_the_cluster_is_asked(server: Server, api: KubeApi, host: str) -> None:
    holds, why = call({"url": f"http://{host}:{server.server_port}/"}, api)
    assert (holds, why.split(":")[0], server.hosts) == (False, "not asked", [])


def test_a_fold_asks_only_where_its_policy_asks() -> None:
    def verify(url: str) -> dict[str, Any]:
        return {"probes": [{"name": "up", "http": {"url": url}}]}

    plan, asks = a_plan("drop"), policy(verify=verify("http://web.shop.svc/"))
    assert not isinstance(leave_for(plan, {"verify": verify("http://web.shop.svc/")}, [asks], AROUND), str)
    why = leave_for(plan, {"verify": verify("http://web.shop.svc/delete")}, [asks], AROUND)
    assert (
        why == "FoldPolicy tests does not fit: its probes do not ask http://web.shop.svc/delete, a Fold may not either"
    )


def test_another_kind_of_probe_is_asked_of_whoever_can_answer_it(api: KubeApi) -> None:
    stage = a_stage()
    asked, given = {"name": "cut", "flows": {"peer": "host/192.0.2.1", "expect": "cut"}}, (stage.plan, [], api)
    assert probe(asked, View(stage.fold), *given)[0] is False
    answer = (True, "no packets")
    askers = {**ASKERS, "flows": lambda asked, scene: answer}
    assert probe(asked, View(stage.fold), *given, askers=askers) == answer
