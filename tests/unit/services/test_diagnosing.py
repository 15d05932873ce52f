"""Failures of a cluster looked for: kubelets asked for throttling, findings told once, and when they are over."""

import json
import threading
from typing import Any

import httpx
import pytest

from loomidi.services.parts.diagnosing import Diagnosing, Throttling
from loomidi.services.settings.answers import FoldingSettings
from loomidi.services.sightings import NEW, OVER
from tests.unit.origami.test_failures import DEPLOYMENT, NOW_NS, SECOND, crashing, pod, release

UID = "12333798-2f8c-43f2-8b37-283d563327ca"
PLAIN = f"/kubepods/burstable/pod{UID}"
SLICE = f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice"


def cadvisor(at_ms: int, periods: int, throttled: int, pod: str = PLAIN) -> str:
    def line(name: str, cgroup: str, value: int) -> str:
        return f'container_cpu_cfs_{name}periods_total{{container="",id="{cgroup}",pod=""}} {value} {at_ms}'

    own = f"{pod}/cri-containerd-0498"
    lines = [line("", own, periods), line("throttled_", own, throttled), line("", pod, 10**9), "something_else 1"]
    return "\n".join(lines) + "\n"


def asked(*answers: httpx.Response) -> tuple[Throttling, list[str]]:
    paths: list[str] = []
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return waiting.pop(0)

    return Throttling(httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))), paths


@pytest.mark.parametrize("pod", [PLAIN, SLICE])
def test_throttling_is_the_share_of_the_periods_between_two_questions(pod: str) -> None:
    answers = [httpx.Response(200, text=cadvisor(*counts, pod)) for counts in ((1, 100, 90), (2, 200, 110))]
    throttling, paths = asked(*answers)
    assert throttling.ask(["n1"]) == {}
    assert throttling.ask(["n1"]) == {UID: 0.2}
    assert paths == ["/api/v1/nodes/n1/proxy/metrics/cadvisor"] * 2


def test_counters_that_begin_anew_with_a_container_are_no_throttling() -> None:
    throttling, _ = asked(httpx.Response(200, text=cadvisor(1, 100, 90)), httpx.Response(200, text=cadvisor(2, 10, 0)))
    throttling.ask(["n1"])
    assert throttling.ask(["n1"]) == {UID: 0.0}


def test_a_kubelet_that_repeats_itself_has_not_looked_anew() -> None:
    looks = ((1, 100, 0), (2, 200, 80), (2, 200, 80), (3, 200, 80))
    throttling, _ = asked(*(httpx.Response(200, text=cadvisor(*look)) for look in looks))
    assert [throttling.ask(["n1"]) for _ in looks] == [{}, {UID: 0.8}, {UID: 0.8}, {UID: 0.0}]


def test_a_kubelet_that_does_not_answer_is_counted_with_its_reason() -> None:
    throttling, _ = asked(httpx.Response(403))
    throttling.ask(["n1"])
    assert throttling.counts == {"status_403": 1}


class Told:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str, list[str]]] = []

    def __call__(self, finding: Any, state: str, folds: Any) -> None:
        self.words.append((state, finding.pattern, [one.fold.kind.value for one in folds]))


def test_a_failing_release_is_told_with_the_way_back_and_its_end() -> None:
    lists = {
        "/api/v1/pods": [pod("cart-1-a", "cart-1"), crashing("cart-2-a")],
        "/api/v1/nodes": [],
        "/api/v1/services": [],
        "/apis/apps/v1/replicasets": [release(1, 9000.0), release(2)],
        "/apis/apps/v1/deployments": [DEPLOYMENT],
    }
    version = {"resourceVersion": "1"}

    def answer(request: httpx.Request) -> httpx.Response:
        items = [json.loads(json.dumps(one)) for one in lists[request.url.path]]
        for one in items:
            one["metadata"]["resourceVersion"] = "1"
        return httpx.Response(200, json={"metadata": version, "items": items})

    told = Told()
    client = httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))
    diagnosing = Diagnosing(client, told, FoldingSettings(metrics_s=0.0))
    diagnosing.fill()
    for second in (0, 5, 6):
        diagnosing.look(NOW_NS + second * SECOND)
    lists["/api/v1/pods"].pop()
    diagnosing.fill()
    diagnosing.look(NOW_NS + 7 * SECOND)
    assert told.words == [(NEW, "crash_loop", ["ROLLBACK"]), (OVER, "crash_loop", [])]


def test_without_the_right_to_see_services_the_rest_is_looked_at_all_the_same() -> None:
    stop = threading.Event()
    seen = list[str]()

    class Stopping(Diagnosing):
        def look(self, now_ns: int) -> None:
            super().look(now_ns)
            stop.set()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if request.url.path.endswith("/services"):
            return httpx.Response(403)
        if "watch" in request.url.params:
            stop.wait(5)
            return httpx.Response(200)
        return httpx.Response(200, json={"metadata": {"resourceVersion": "1"}, "items": []})

    client = httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))
    Stopping(client, Told(), FoldingSettings(metrics_s=0.0)).run(stop)
    assert stop.is_set()
    assert "/api/v1/services" in seen
