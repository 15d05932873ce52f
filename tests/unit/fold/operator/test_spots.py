"""Where a Fold acts: workload and node, read from the objects as they are."""

from typing import Any

import httpx
import pytest

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.fold.operator.spots import Spot, pod_of, slim_pod, spot_of
from loomidi.loom.sources.shelves import Shelf
from tests.unit.ionic.kube.fake_api import FakeApi


def a_pod(owner: tuple[str, str] | None = None, **status: Any) -> dict[str, Any]:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    metadata = {"namespace": "shop", "name": "web-x", "resourceVersion": "1", "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"} | status}


def aimed(target: str, **manifest: Any) -> FoldSpec:
    return FoldSpec(FoldKind.SCALE_OUT, target, "scale", manifest=manifest)


@pytest.mark.parametrize(
    ("owner", "workload"),
    [
        (("ReplicaSet", "web-6d4cf56db6"), "shop/web"),
        (("ReplicaSet", "web-frontend"), "shop/web-frontend"),
        (("StatefulSet", "db-bcdfg"), "shop/db-bcdfg"),
        (None, "shop/web-x"),
    ],
)
def test_a_pod_is_of_the_workload_that_people_know(owner: tuple[str, str] | None, workload: str) -> None:
    assert spot_of(aimed("pod/shop/web-x"), a_pod(owner)) == Spot(workload, "n1")


@pytest.mark.parametrize(
    ("fold", "spot"),
    [
        (aimed("workload/shop/web"), Spot("shop/web")),
        (aimed("node/n1"), Spot("node/n1", "n1")),
        (aimed("host/203.0.113.7"), Spot("host/203.0.113.7")),
        (aimed("service/10.0.0.1:80/tcp", kind="Scale", metadata={"namespace": "a", "name": "b"}), Spot("a/b")),
        (aimed("pod/shop/gone"), Spot("pod/shop/gone")),
    ],
)
def test_each_target_has_a_spot(fold: FoldSpec, spot: Spot) -> None:
    assert spot_of(fold, None) == spot


def test_a_pod_is_healthy_when_it_is_ready_and_neither_ending_nor_in_quarantine() -> None:
    ready = a_pod(conditions=[{"type": "Ready", "status": "True"}])
    ending = ready | {"metadata": ready["metadata"] | {"deletionTimestamp": "now"}}
    cut = ready | {"metadata": ready["metadata"] | {"labels": {"loomidi.io/quarantine": "x"}}}
    assert [pod.healthy for one in (ready, ending, cut, a_pod()) if (pod := pod_of(one))] == [True, False, False, False]
    assert pod_of(a_pod(phase="Succeeded")) is None


def test_a_shelf_keeps_of_a_pod_what_is_counted_and_drops_what_the_next_list_lacks() -> None:
    api = FakeApi()
    api.put("/api/v1/pods/a", a_pod())
    with api.client() as client:
        shelf = Shelf(_listing(client), "/api/v1/pods", lambda _: None, 1, slim=slim_pod)
        shelf.fill()
        assert [one["pod"].name for one in shelf.all()] == ["web-x"]
        assert "spec" not in shelf.all()[0]
        del api.objects["/api/v1/pods/a"]
        shelf.fill()
        assert shelf.all() == []


def _listing(client: httpx.Client) -> httpx.Client:
    """The fake API gives lists no version; a real one does."""

    def versioned(response: httpx.Response) -> None:
        response.read()
        page = response.json() | {"metadata": {"resourceVersion": "99"}}
        response._content = httpx.Response(200, json=page).content

    client.event_hooks["response"].append(versioned)
    return client
