"""The shop in a real cluster: users from outside, traces to the host, a rollout under load, the scaler, the report."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import Conflict, EnvironmentLacks
from loomidi_lab import shop as shops
from loomidi_lab.shop.load import Load, LoadProfile

pytestmark = pytest.mark.slow
CALM = LoadProfile(rate=15.0, swing=0.0, bursts=0.0)
WAIT_S = 120.0


def eventually(claim: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """The first true value of a claim; its last value when there was none in time."""
    until = time.monotonic() + timeout_s
    while not (value := claim()) and time.monotonic() < until:
        time.sleep(0.3)
    return value


@pytest.fixture
def load(cluster: Any, shop: "shops.Shop", tmp_path: Path) -> Iterator[Callable[..., Load]]:
    running: list[Load] = []

    def start(profile: LoadProfile = CALM, seconds: float = 20.0, **more: Any) -> Load:
        running.append(Load(cluster, shop, profile, 1, tmp_path / str(len(running))).start(seconds=seconds, **more))
        return running[-1]

    yield start
    for one in running:
        if one.running:
            one.stop()


class TestLoad:
    def test_people_from_outside_are_served(self, load: Any) -> None:
        one = load()
        summary = one.wait(120.0)
        lines = [json.loads(line) for line in one.requests.read_text().splitlines()]
        assert len(lines) == summary.requests > 200
        assert {line["source"].rpartition(".")[0] for line in lines} == {"203.0.113"}
        assert len({line["source"] for line in lines}) > 5
        assert {line["status"] for line in lines} >= {200, 201}
        assert all(line["done_ns"] >= line["sent_ns"] >= line["intended_ns"] for line in lines if line["sent_ns"])

    def test_a_running_load_tells_its_numbers(self, load: Any) -> None:
        one = load(metrics_port=9199)
        assert eventually(lambda: 'load_requests_total{route="/"' in one.metrics())
        one.stop()

    def test_a_load_is_started_once(self, load: Any) -> None:
        with pytest.raises(Conflict):
            load().start()


class TestOperations:
    def test_a_rollout_under_load_cuts_nobody_off(self, cluster: Any, shop: "shops.Shop", load: Any) -> None:
        one = load(seconds=600.0)
        names = [f"deployment/{name}" for name in ("frontend", "catalog", "orders", "payment")]
        cluster.kubectl("rollout", "restart", "-n", shop.namespace, *names)
        shop.wait_ready(300.0)
        time.sleep(3.0)
        summary = one.stop()
        assert summary.requests > 50
        assert "reset" not in summary.errors

    def test_more_load_gets_more_frontends(self, cluster: Any, shop: "shops.Shop", load: Any) -> None:
        path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/frontend/scale"
        assert cluster.api.get(path)["spec"]["replicas"] == 2
        load(LoadProfile(rate=90.0, swing=0.0, bursts=0.0), seconds=600.0)
        assert eventually(lambda: cluster.api.get(path)["spec"]["replicas"] > 2)

    def test_the_report_is_written(self, cluster: Any, shop: "shops.Shop") -> None:
        name = f"report-{time.time_ns()}"
        cluster.kubectl("create", "job", name, "--from=cronjob/report", "-n", shop.namespace)
        done = f"/apis/batch/v1/namespaces/{shop.namespace}/jobs/{name}"
        assert eventually(lambda: cluster.api.get(done)["status"].get("succeeded"))
        text = cluster.kubectl("logs", f"job/{name}", "-n", shop.namespace).stdout
        assert json.loads(text.splitlines()[-1])["event"] == "report written"


class TestShop:
    def test_its_entities_are_in_the_cluster(self, cluster: Any, shop: "shops.Shop") -> None:
        groups = {"Service": "api/v1", "CronJob": "apis/batch/v1"}
        kinds = {
            "Service": "services",
            "CronJob": "cronjobs",
            "Deployment": "deployments",
            "StatefulSet": "statefulsets",
        }
        for entity in shop.entities():
            base = f"/{groups.get(entity['kind'], 'apis/apps/v1')}/namespaces/{entity['namespace']}"
            assert cluster.api.exists(f"{base}/{kinds[entity['kind']]}/{entity['name']}"), entity

    def test_every_service_tells_its_metrics(self, shop: "shops.Shop") -> None:
        for app in ("frontend", "catalog", "orders", "mailer", "scaler"):
            found = shop.metrics(app)
            assert {pod.name for pod in shop.pods(app)} == set(found)
            assert all(samples["process_open_fds"] > 0 for samples in found.values())

    def test_no_shop_is_said(self, cluster: Any) -> None:
        with pytest.raises(EnvironmentLacks, match="shop deploy"):
            shops.find(cluster, "nowhere")

    def test_a_namespace_of_somebody_else_is_left_alone(self, cluster: Any, namespace: str) -> None:
        with pytest.raises(Conflict, match=namespace):
            shops.deploy(cluster, namespace)
