"""An API server with the definitions of Cilium and Istio, our own, and the policies of deployments/admission.

Neither of the two runs here: their objects are checked by the API server and enforced by nobody. A CiliumNode is put
as an agent of Cilium would write it, so that the driver takes Cilium to run.
"""

from collections.abc import Iterator

import httpx
import pytest

from loomidi.contracts import EnvironmentLacks
from loomidi_lab.cluster.definitions import definitions
from tests.integration.kube.admission.floors import Floor, FloorStage, install
from tests.integration.kube.means.cases import NODE, MeansRoom
from tests.integration.kube.operator.granting import applied, establish
from tests.integration.kube.operator.stages import POLICIES
from tests.integration.kube.rooms import USER, bind, wait
from tests.integration.kube.servers import Server, kube_server
from tests.rungs import ran

EXTENSIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it is for the long run (`make lab-test`): the definitions are fetched, and they are many."""
    for item in items:
        if "kube/means" in str(item.path):
            item.add_marker(pytest.mark.lab_long)
            item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kube_server(tmp_path_factory.mktemp("kube-means"), controllers=True) as running:
        yield running


@pytest.fixture(scope="session")
def theirs(server: Server) -> list[str]:
    """Names of the definitions of Cilium and Istio, which are there and served."""
    try:
        found = [*definitions("cilium"), *definitions("istio")]
    except EnvironmentLacks as error:
        pytest.skip(f"no definitions here: {error}")
    with server.admin() as client:
        for one in found:
            applied(client, f"{EXTENSIONS}/{one['metadata']['name']}", one)
        for one in found:
            path = f"{EXTENSIONS}/{one['metadata']['name']}"
            wait(lambda path=path: _established(client.get(path).json()), f"{path} is served")  # type: ignore[misc]
    ran("definitions of Cilium and Istio", f"{len(found)}, on an API server; no mesh runs")
    return [one["metadata"]["name"] for one in found]


@pytest.fixture(scope="session")
def admin(server: Server, theirs: list[str]) -> Iterator[httpx.Client]:
    with server.admin() as client:
        bind(client)
        establish(client)
        install(client)
        applied(client, "/apis/cilium.io/v2/ciliumnodes/n1", NODE)
        yield client


@pytest.fixture(scope="session")
def operator(server: Server) -> Iterator[httpx.Client]:
    with server.user(USER) as client:
        yield client


@pytest.fixture
def room(admin: httpx.Client, operator: httpx.Client) -> Iterator[MeansRoom]:
    room = MeansRoom(admin, operator)
    yield room
    room.leave()


@pytest.fixture
def stage(server: Server, room: MeansRoom) -> Iterator[FloorStage]:
    stage = FloorStage(server, room)
    yield stage
    room.admin.delete(f"{POLICIES}/{room.namespace}")


@pytest.fixture
def floor(room: MeansRoom) -> Floor:
    return Floor(room)


def _established(definition: dict[str, object]) -> bool:
    status = definition.get("status") or {}
    assert isinstance(status, dict)
    return any(one["type"] == "Established" and one["status"] == "True" for one in status.get("conditions") or ())
