"""Orders from the operator's pods to the agents': a server is cut off on its own link by the chart alone, and let go.

The lab's bridge network enforces no policies, so whatever stops here is the agents' doing.
"""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loomidi.conductor.verbs.serve import agent
from loomidi_lab.cluster import Lab, certificates
from tests.integration.helm.charts import NAMESPACE
from tests.integration.lab.deployment.releases import Release, comes, kernel_of
from tests.integration.lab.deployment.shops import Shop

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
VALUES: Mapping[str, Any] = {
    "mode": "autonomous",
    "agent": {"channel": {"enabled": True, "secret": "orders"}},
    "pipeline": {"propose": False},
}


@pytest.fixture(scope="module")
def ordering(release: Release, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    if not any("--orders" in parameter.opts for parameter in agent.params):
        pytest.skip("this checkout's agent takes no orders")
    logs_in_place(release.lab)
    post_secret(release.lab, tmp_path_factory.mktemp("pki"))
    release.install(VALUES)
    shop.allow("ISOLATE_POD")
    return shop


def logs_in_place(lab: Lab) -> None:
    """The lab's kubelets have their logs elsewhere; agents look where every other kubelet has them."""
    for node in lab.nodes:
        words = f"mkdir -p /var/log/pods {node.folder}/logs && mount --bind {node.folder}/logs /var/log/pods"
        lab.run(node.netns, *lab.on(node), "sh", "-c", words)


def post_secret(lab: Lab, folder: Path) -> None:
    """What docs/deploy.md asks for."""
    authority = certificates.authority(folder)
    authority.issue("agent", "loomidi-agent", hosts=("loomidi-agent",))
    authority.issue("operator", "loomidi-operator")
    files = {name: (folder / name).read_bytes() for name in ("ca.crt", "agent.crt", "agent.key", "operator.crt")}
    files |= {"operator.key": (folder / "operator.key").read_bytes(), "orders.key": secrets.token_hex(32).encode()}
    data = {name: base64.b64encode(octets).decode() for name, octets in files.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders"}, "data": data}
    lab.api.post(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)


def test_a_fold_cuts_a_pod_on_its_link_and_lets_it_go(ordering: Shop) -> None:
    address = ordering.pod("web")["status"]["podIP"]
    comes(lambda: ordering.answers(address))
    plan = ordering.isolate()
    status = ordering.reaches(plan, "Active", "Denied", "RolledBack")
    assert status["phase"] == "Active", status
    assert not ordering.answers(address)
    ordering.release(plan)
    ordering.reaches(plan, "Released")
    comes(lambda: ordering.answers(ordering.pod("web")["status"]["podIP"]))


def test_an_uninstall_lets_go_of_what_is_cut(ordering: Shop, release: Release) -> None:
    plan = ordering.isolate()
    ordering.reaches(plan, "Active")
    assert "loomidi-cuts" in str(kernel_of(release.lab))
    release.uninstall()
    assert ordering.status(plan)["phase"] == "Released"
    comes(lambda: kernel_of(release.lab), lambda found: "loomidi" not in str(found))
