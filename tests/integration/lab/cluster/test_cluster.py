"""A lab is a real cluster: nodes, pods, names, Services, rights, records, and a view of every link."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from loomidi_lab.cluster import Lab, nodes
from loomidi_lab.cluster.api import ApiRefused

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: web}}
      containers:
        - name: web
          image: lab.loomidi.io/base:1
          command: [python3, -m, http.server, "8080"]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""

CURL = ("curl", "-s", "-m5", "-o", "/dev/null", "-w", "%{http_code}")


@pytest.fixture
def web(cluster: Lab, namespace: str) -> str:
    """Two web servers on two nodes behind a Service; the namespace they are in."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=WEB)
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/web", "--timeout=60s", timeout_s=70)
    return namespace


def pods_of(lab: Lab, namespace: str) -> list[dict[str, dict[str, str]]]:
    return lab.api.list(f"/api/v1/namespaces/{namespace}/pods")


def test_nodes_are_ready_and_run_the_version_that_was_built(cluster: Lab) -> None:
    nodes = cluster.api.list("/api/v1/nodes")
    assert {node["metadata"]["name"] for node in nodes} == {"n1", "n2"}
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {cluster.state["versions"]["kubernetes"]}


def test_pods_on_two_nodes_reach_each_other_through_a_service_by_its_name(cluster: Lab, web: str) -> None:
    pods = pods_of(cluster, web)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"n1", "n2"}
    for pod in pods:
        ask = (web, pod["metadata"]["name"], *CURL, "http://web/")
        eventually(
            lambda ask=ask: cluster.exec(*ask, check=False).stdout, "200"
        )  # kube-proxy hears of it a little later


def test_the_outside_reaches_a_node_port_with_an_address_of_its_own(cluster: Lab, web: str) -> None:
    port = cluster.api.get(f"/api/v1/namespaces/{web}/services/web")["spec"]["ports"][0]["nodePort"]
    for node in cluster.nodes:
        words = (*CURL, "--interface", "203.0.113.77", f"http://{node.address}:{port}/")
        eventually(lambda words=words: cluster.run(cluster.outside_netns, *words, check=False).stdout, "200")


def test_logs_come_through_the_api(cluster: Lab, web: str) -> None:
    name = pods_of(cluster, web)[0]["metadata"]["name"]
    assert "GET / HTTP/1.1" in eventually(lambda: cluster.kubectl("logs", "-n", web, name).stdout, "GET /")


def test_every_pod_has_its_link_and_every_packet_of_it_passes_there(cluster: Lab, web: str) -> None:
    links = {link.pod: link for link in cluster.links() if link.namespace == web}
    pods = {pod["metadata"]["name"]: pod for pod in pods_of(cluster, web)}
    assert set(links) == set(pods)
    for name, link in links.items():
        assert (link.node, link.address) == (pods[name]["spec"]["nodeName"], pods[name]["status"]["podIP"])
        before = _packets(cluster, link.netns, link.name)
        cluster.run(cluster.outside_netns, "curl", "-s", "-m5", "-o", "/dev/null", f"http://{link.address}:8080/")
        assert _packets(cluster, link.netns, link.name) > before


def test_rights_are_enforced(cluster: Lab, web: str) -> None:
    name = pods_of(cluster, web)[0]["metadata"]["name"]
    script = (
        "curl -sk -m5 -o /dev/null -w '%{http_code}' -H \"Authorization: Bearer "
        '$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)" https://kubernetes.default/api/v1/secrets'
    )
    assert cluster.exec(web, name, "sh", "-c", script).stdout == "403"


def test_who_did_what_is_in_the_audit_log(cluster: Lab, namespace: str) -> None:
    text = eventually(cluster.api_log.read_text, f'"name":"{namespace}"')
    events = [json.loads(line) for line in text.splitlines() if f'"{namespace}"' in line]
    made = [event for event in events if event["verb"] == "create" and event["objectRef"]["resource"] == "namespaces"]
    assert [event["user"]["username"] for event in made] == ["admin"]


def test_any_client_of_the_host_works_with_the_kubeconfig(cluster: Lab) -> None:
    pki, url = cluster.folder / "pki", f"{cluster.state['server']}/version"
    client = ("--cacert", pki / "ca.crt", "--cert", pki / "kubeconfig.crt", "--key", pki / "kubeconfig.key")
    listed = subprocess.run(("curl", "-sS", *client, url), capture_output=True, text=True, check=True)
    assert json.loads(listed.stdout)["gitVersion"] == cluster.state["versions"]["kubernetes"]


def test_a_refusal_of_the_api_has_its_status_and_words(cluster: Lab) -> None:
    with pytest.raises(ApiRefused, match=r'says 404: .*"nowhere" not found') as caught:
        cluster.api.get("/api/v1/namespaces/nowhere")
    assert caught.value.status == 404


def test_a_node_that_is_stopped_is_not_ready_and_comes_back(cluster: Lab) -> None:
    cluster.stop_node("n2", "kubelet")
    try:
        eventually(lambda: _ready(cluster, "n2"), "Unknown", seconds=60)
    finally:
        cluster.start_node("n2")
    eventually(lambda: _ready(cluster, "n2"), "True", seconds=60)


def test_a_kubelet_that_asks_before_its_containerd_is_ready_is_started_again(
    cluster: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.stop_node("n2", "kubelet", "containerd")
    assert cluster.dead() == ["n2-containerd", "n2-kubelet"]
    monkeypatch.setattr(nodes, "await_containerd", lambda *_: None)
    cluster.start_node("n2", "containerd", "kubelet")
    assert cluster.kubelet_answers("n2")
    assert cluster.dead() == []


@pytest.mark.lab_long
def test_a_node_that_loses_its_power_comes_back_with_its_pods_and_nothing_else(cluster: Lab, web: str) -> None:
    before = {pod["metadata"]["uid"]: _began(pod) for pod in pods_of(cluster, web)}
    here = [pod["metadata"]["uid"] for pod in pods_of(cluster, web) if pod["spec"]["nodeName"] == "n2"]
    stray = cluster.start("stray", [*cluster.on(cluster.node("n2")), "sleep", "600"])
    cluster.run(cluster.node("n2").netns, "ip", "link", "add", "stray", "type", "bridge")
    cluster.restart_node("n2")
    assert stray.wait(10) != 0
    assert "stray" not in cluster.run(cluster.node("n2").netns, "ip", "link", "show").stdout

    def again() -> str:
        pods = {pod["metadata"]["uid"]: pod for pod in pods_of(cluster, web)}
        assert pods.keys() == before.keys()
        return str({uid for uid, pod in pods.items() if _began(pod) > before[uid]} == set(here))

    eventually(again, "True", seconds=60)
    eventually(lambda: _ready(cluster, "n2"), "True", seconds=60)
    port = cluster.api.get(f"/api/v1/namespaces/{web}/services/web")["spec"]["ports"][0]["nodePort"]
    asked = (*CURL, f"http://{cluster.node('n2').address}:{port}/")
    eventually(lambda: cluster.run(cluster.outside_netns, *asked, check=False).stdout, "200", seconds=60)


def _began(pod: Any) -> str:
    """When its container was started last."""
    (told,) = pod["status"].get("containerStatuses") or [{}]
    return str(told.get("state", {}).get("running", {}).get("startedAt", ""))


def _ready(lab: Lab, node: str) -> str:
    conditions = lab.api.get(f"/api/v1/nodes/{node}")["status"]["conditions"]
    return next(str(each["status"]) for each in conditions if each["type"] == "Ready")


def _packets(lab: Lab, netns: str, link: str) -> int:
    shown = json.loads(lab.run(netns, "ip", "-json", "-s", "link", "show", link).stdout)[0]["stats64"]
    return int(shown["rx"]["packets"]) + int(shown["tx"]["packets"])


def eventually(ask: Callable[[], str], wanted: str, seconds: float = 20.0) -> str:
    until = time.monotonic() + seconds
    while wanted not in (text := ask()):
        assert time.monotonic() < until, f"no {wanted!r} after {seconds} s in: {text[-300:]}"
        time.sleep(0.2)
    return text
