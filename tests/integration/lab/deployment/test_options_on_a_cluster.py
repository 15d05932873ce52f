"""What is off by default, on real nodes at once: a bus of three, pins, the floor, the ingestion API, the policy API."""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from loomidi.conductor.verbs import serve
from loomidi.contracts import Mode
from loomidi_lab.cluster import Lab, certificates
from tests.integration.helm.charts import NAMESPACE
from tests.integration.lab.deployment.releases import Release, comes, kernel_of
from tests.integration.lab.deployment.shops import Shop

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
TOKEN = secrets.token_hex(32)
POLICY = {"enabled": "policy" in serve.command.commands, "tlsSecret": "tls", "tokenSecret": "tokens"}
VALUES: Mapping[str, Any] = {
    "mode": "autonomous",
    "floor": {"enabled": True},
    "nats": {"replicas": 3},
    "agent": {"pin": True},
    "pipeline": {"ingest": {"enabled": True, "tlsSecret": "tls", "tokenSecret": "tokens"}},
    "policy": POLICY | {"persistence": {"enabled": False}},
}


@pytest.fixture(scope="module")
def installed(release: Release, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("pki")
    certificates.authority(folder).issue("tls", "loomidi", hosts=("loomidi-pipeline.loomidi-system.svc",))
    post(release.lab, "tls", {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key")})
    post(release.lab, "tokens", {"tokens": TOKEN.encode()})
    release.install(VALUES)
    return release


def post(lab: Lab, name: str, files: Mapping[str, bytes]) -> None:
    """A Secret."""
    data = {file: base64.b64encode(octets).decode() for file, octets in files.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    lab.api.post(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)


def test_every_pod_is_ready(installed: Release) -> None:
    installed.settle()
    assert len(installed.pods("nats")) == 3
    assert len(installed.pods("policy")) == int(POLICY["enabled"])


def test_streams_have_three_copies_and_lose_nothing_when_a_server_ends(installed: Release) -> None:
    count = "select count(*) n from flows"
    before = comes(lambda: installed.query(count), lambda rows: bool(rows) and rows[0]["n"] > 0)[0]["n"]
    installed.lab.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/loomidi-nats-0")
    comes(lambda: installed.query(count), lambda rows: bool(rows) and rows[0]["n"] > before + 10)


def test_telemetry_comes_in_with_a_token_and_not_without(installed: Release, shop: Shop) -> None:
    url = f"https://loomidi-pipeline.{NAMESPACE}.svc:8080/loom-api/data/system-metrics"
    row = '{"source_id": "deployed", "metric_name": "asked", "value": 1}'
    words = ("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", row)
    assert shop.asks(*words, url) == "401"
    assert shop.asks(*words, "-H", f"Authorization: Bearer {TOKEN}", url) == "202"
    comes(lambda: installed.query("select value from metrics where source_id = 'deployed'"))


def test_a_fold_is_carried_out_under_the_floor(installed: Release, shop: Shop) -> None:
    shop.allow("SCALE_OUT")
    status = shop.reaches(shop.scale(Mode.AUTONOMOUS), "Active", "Denied", "RolledBack")
    assert (status["phase"], shop.replicas()) == ("Active", 2), status


def test_an_uninstall_gets_past_the_floor_and_takes_pins_off(installed: Release, shop: Shop) -> None:
    assert "/sys/fs/bpf/loomidi/veth" in str(kernel_of(installed.lab))
    installed.uninstall()
    assert shop.replicas() == 1
    comes(lambda: kernel_of(installed.lab), lambda found: "veth" not in str(found))
