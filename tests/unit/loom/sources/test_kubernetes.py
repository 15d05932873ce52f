"""Lists and watches against an API in memory: resuming, relists, refusals, silence, restarts."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable
from loomidi.contracts.streams import Stream
from loomidi.garden.graph.naming import AddressBook
from loomidi.loom.sources.clusters import access
from loomidi.loom.sources.kubernetes import KubernetesWatch, WatchSettings
from loomidi.loom.sources.listing import Listeners, ListSettings, Resource, Watcher
from tests.unit.loom.sources.test_owning import pod

QUICK = ListSettings(first_pause_s=0.001, longest_pause_s=0.002, silence_s=5.0)
PODS = Resource("/api/v1/pods", "Pod")


class Api:
    """Objects by path, and one script for each watch: events, or what the connection does instead."""

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.version = 10
        self.scripts: list[list[Any]] = []  # of watches of pods; afterwards they stay open
        self.asked: list[dict[str, str]] = []
        self.refuse: dict[str, int] = {}

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path, params = request.url.path, dict(request.url.params)
        if path in self.refuse:
            return httpx.Response(self.refuse[path], json={"message": "no"})
        if "watch" in params:
            if path == PODS.path:
                self.asked.append(params)
                script = self.scripts.pop(0) if self.scripts else ["wait"]
            else:
                script = ["wait"]
            return (
                script[0] if isinstance(script[0], httpx.Response) else httpx.Response(200, content=self._run(script))
            )
        items = self.items.get(path, [])
        first = int(params.get("continue", "0"))
        page = items[first : first + int(params["limit"])]
        more = {"continue": str(first + len(page))} if first + len(page) < len(items) else {}
        return httpx.Response(200, json={"metadata": {"resourceVersion": str(self.version), **more}, "items": page})

    async def _run(self, script: list[Any]) -> AsyncIterator[bytes]:
        for step in script:
            if step == "wait":
                await asyncio.Event().wait()
            elif step == "break":
                raise httpx.ReadError("gone")
            else:
                yield json.dumps(step).encode() + b"\n"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(self))


def event(kind: str, item: dict[str, Any], version: int) -> dict[str, Any]:
    about = {**item.get("metadata", {}), "resourceVersion": str(version)}
    return {"type": kind, "object": {**item, "metadata": about}}


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


def followed(
    api: Api, enough: Callable[[list[Any], Watcher], object], settings: ListSettings = QUICK
) -> tuple[list[Any], Watcher]:
    """Run a watcher of pods until `enough` of what it told."""
    told: list[Any] = []

    async def played() -> Watcher:
        listeners = Listeners(
            lambda _kind, items, _now, heard: told.append(
                ("list", [one["metadata"]["name"] for one in items], bool(heard))
            ),
            lambda _kind, change, item, _now: told.append((change, item["metadata"]["name"])),
        )
        async with api.client() as client:
            watcher, ending = Watcher(client, PODS, listeners, settings), asyncio.Event()
            task = asyncio.create_task(watcher.run(ending))
            await until(lambda: enough(told, watcher))
            ending.set()
            await task
            return watcher

    return told, asyncio.run(played())


def test_a_watch_goes_on_from_the_last_version_after_it_broke() -> None:
    api = Api()
    api.items[PODS.path] = [pod("a")]
    api.scripts = [
        [event("ADDED", pod("b"), 11), {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "15"}}}, "break"]
    ]
    api.scripts += [[event("MODIFIED", pod("b"), 16), "wait"]]
    told, watcher = followed(api, lambda told, _: len(told) == 3)
    assert told == [("list", ["a"], False), ("ADDED", "b"), ("MODIFIED", "b")]
    assert [asked["resourceVersion"] for asked in api.asked] == ["10", "15"]
    assert (watcher.counts["broken connections"], watcher.counts["bookmarks"], watcher.problem) == (1, 1, "")


@pytest.mark.parametrize(
    "script",
    [[{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}], [httpx.Response(410, json={})]],
    ids=["within the watch", "as its answer"],
)
def test_what_the_api_has_forgotten_is_listed_anew(script: list[Any]) -> None:
    api = Api()
    api.items[PODS.path] = [pod("a")]
    api.scripts = [script]
    told, watcher = followed(api, lambda told, _: len(told) == 2)
    assert told == [("list", ["a"], False), ("list", ["a"], True)]
    assert watcher.counts["relists"] == 1


def test_lists_that_are_always_forgotten_are_tried_later() -> None:
    api = Api()
    api.refuse[PODS.path] = 410
    _, watcher = followed(api, lambda _, watcher: watcher.counts["broken connections"] >= 2)
    assert "forgets its lists" in watcher.problem
    assert watcher.counts["lists begun anew"] >= 6


def test_long_lists_come_in_pages() -> None:
    api = Api()
    api.items[PODS.path] = [pod(f"p{number}") for number in range(7)]
    told, _ = followed(api, lambda told, _: told, ListSettings(page=3))
    assert told[0][1] == [f"p{number}" for number in range(7)]


def test_a_refusal_is_told_and_tried_again() -> None:
    api = Api()
    api.refuse[PODS.path] = 403
    _, watcher = followed(api, lambda _, watcher: watcher.counts["refused"] >= 2)
    assert "let us list and watch it (RBAC)" in watcher.problem


def test_a_silent_connection_is_given_up() -> None:
    api = Api()

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "watch" in dict(request.url.params):
                api.asked.append(dict(request.url.params))
                assert request.extensions["timeout"]["read"] == 0.5
                raise httpx.ReadTimeout("silence")
            return await api(request)

    api.client = lambda: httpx.AsyncClient(base_url="http://api", transport=Silent())  # type: ignore[method-assign]
    settings = ListSettings(first_pause_s=0.001, longest_pause_s=0.002, silence_s=0.5)
    followed(api, lambda _, watcher: watcher.counts["broken connections"] >= 2, settings)
    assert len(api.asked) >= 2


class Sink:
    """What was sent; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.book, self.events, self.failures = AddressBook(), list[dict[str, Any]](), failures

    async def __call__(self, stream: Stream, batch: pa.RecordBatch) -> None:
        if self.failures:
            self.failures -= 1
            raise Retryable("away")
        if stream == Stream.ENTITIES:
            self.book.learn(batch)
        else:
            self.events += batch.drop_columns(["timestamp", "received"]).to_pylist()


def watched(api: Api, sink: Sink, enough: Callable[[KubernetesWatch], object], **settings: Any) -> KubernetesWatch:
    async def played() -> KubernetesWatch:
        async with api.client() as client:
            chosen = WatchSettings(listing=QUICK, gather_s=0.001, retry_s=0.001, **settings)
            watch, ending = KubernetesWatch(client, sink, chosen), asyncio.Event()
            task = asyncio.create_task(watch.run(ending))
            await until(lambda: enough(watch))
            ending.set()
            await task
            return watch

    return asyncio.run(played())


def test_a_pod_is_known_from_the_list_and_a_later_one_from_the_watch() -> None:
    api, sink = Api(), Sink(failures=2)
    api.items[PODS.path] = [pod("a")]
    api.scripts = [[event("ADDED", pod("b", "10.244.1.6"), 11), "wait"]]
    watch = watched(api, sink, lambda _: len(sink.book) == 2)
    assert {row.entity for row in sink.book} == {"pod/shop/a", "pod/shop/b"}
    assert (watch.ready, watch.retries, watch.heard_ns > 0) == ([], 2, True)


def test_events_from_before_the_watch_are_left_out_and_missed_ones_made_up_for() -> None:
    api, sink = Api(), Sink()
    old, missed = ({"metadata": {"uid": uid, "resourceVersion": "1"}, "reason": uid} for uid in ("old", "missed"))
    api.items["/api/v1/events"] = [old]
    scripts = [[httpx.Response(410, json={})]]

    class Events(Api):
        async def __call__(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/api/v1/events" and "watch" in dict(request.url.params) and scripts:
                api.items["/api/v1/events"] = [old, missed]
                return scripts.pop()[0]
            return await api(request)

    made = Events()
    watched(made, sink, lambda _: sink.events)
    assert [row["kind"] for row in sink.events] == ["missed"]


def test_what_vanished_while_nobody_watched_ends_at_the_next_start(tmp_path: Path) -> None:
    api, sink, state = Api(), Sink(), tmp_path / "watch" / "state.json"
    api.items[PODS.path] = [pod("a"), pod("b", "10.244.1.6")]
    watched(api, sink, lambda _: len(sink.book) == 2, state=state)
    api.items[PODS.path] = [pod("b", "10.244.1.6")]
    watched(api, sink, lambda _: not sink.book.at("10.244.1.5"), state=state)
    assert [(row.name, row.to_ns > 0) for row in sink.book] == [("a", True), ("b", False)]


def test_at_each_start_what_is_open_is_told_again(tmp_path: Path) -> None:
    api, sink, state = Api(), Sink(), tmp_path / "state.json"
    api.items[PODS.path] = [pod("a")]
    watched(api, sink, lambda _: len(sink.book) == 1, state=state)
    again = Sink()
    watched(api, again, lambda _: len(again.book) == 1, state=state)
    assert [row.name for row in again.book] == ["a"]


def test_a_state_of_another_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text(json.dumps({"cluster": "other", "rows": []}))
    with pytest.raises(InputError, match="remove it to begin anew"):
        KubernetesWatch(httpx.AsyncClient(), Sink(), WatchSettings(state=tmp_path / "state"))


# ---- access


def kubeconfig(folder: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Path:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(json.dumps(document))
    return path


def test_a_kubeconfig_with_a_token_is_enough(tmp_path: Path) -> None:
    found = access(kubeconfig(tmp_path, {"token": "secret"}), {})
    assert (found.server, found.token) == ("https://10.0.0.1:6443", "secret")


def test_a_token_in_a_file_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("renewed\n")
    found = access(None, {"KUBECONFIG": str(kubeconfig(tmp_path, {"tokenFile": "token"}))})
    auth = found.client().auth
    assert auth is not None
    request = next(auth.auth_flow(httpx.Request("GET", "https://x")))
    assert request.headers["authorization"] == "Bearer renewed"


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"exec": {"command": "aws"}}, {}),
        ({}, {"certificate-authority-data": base64.b64encode(b"no pem").decode()}),
        ({"client-certificate": "missing.pem"}, {}),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    with pytest.raises(EnvironmentLacks):
        access(kubeconfig(tmp_path, user, cluster), {})


def test_a_pod_without_an_account_is_told_so() -> None:
    with pytest.raises(EnvironmentLacks, match="automountServiceAccountToken"):
        access(None, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
