"""The watch: nothing between two connections is lost, a relist tells what differs."""

from collections.abc import Iterator
from typing import Any

from loomidi.contracts.errors import InputError, Retryable
from loomidi_lab.recording.balances import Balance
from loomidi_lab.recording.sources.watching import Change, Resource, Watch
from loomidi_lab.recording.sources.working import Workers

PODS = Resource("/api/v1/pods", "Pod", "v1")


def item(uid: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "name": uid, "resourceVersion": str(version)}, **more}


class Gone(InputError):
    """As the lab's client raises it for an ERROR event or answer 410."""

    status = 410


class FakeApi:
    """Lists and watches in the order given; the last watch ends the test."""

    def __init__(self, workers: Workers, lists: list[dict[str, Any]], watches: list[Any]) -> None:
        self._workers, self._lists, self._watches = workers, lists, watches
        self.asked: list[str] = []

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._lists.pop(0)

    def watch(
        self, path: str, resource_version: str = "", timeout_s: float = 0, **params: Any
    ) -> Iterator[dict[str, Any]]:
        self.asked.append(resource_version)
        found = self._watches.pop(0)
        if isinstance(found, Exception):
            raise found
        yield from found
        if not self._watches:
            self._workers.stopping.set()


def listed(version: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


def followed(lists: list[dict[str, Any]], watches: list[Any]) -> tuple[list[tuple[str, str, str]], FakeApi, Balance]:
    workers, notes, seen = Workers(), Balance(), list[Change]()
    api = FakeApi(workers, lists, watches)
    watch = Watch(api, PODS, seen.append, notes)
    watch.relist()
    watch.follow(workers)
    return [(change.change, change.via, change.metadata["name"]) for change in seen], api, notes


def test_a_broken_connection_goes_on_where_it_was() -> None:
    first = [{"type": "ADDED", "object": item("b", 7)}]
    second = [{"type": "BOOKMARK", "object": item("", 9)}, {"type": "DELETED", "object": item("b", 12)}]
    seen, api, notes = followed([listed(5, item("a", 3))], [first, Retryable("broke off"), second])
    assert seen == [("LISTED", "list", "a"), ("ADDED", "watch", "b"), ("DELETED", "watch", "b")]
    assert api.asked == ["5", "7", "7"]
    assert notes.noted("broken watches") == 1
    assert notes.noted("bookmarks") == 1


def test_after_410_what_differs_is_told_and_only_that() -> None:
    again = listed(90, item("a", 3), item("b", 50), item("d", 60))
    for gone in (Gone("410"), [{"type": "ERROR", "object": {"code": 410}}]):
        start = listed(5, item("a", 3), item("b", 4), item("c", 5))
        seen, api, notes = followed([start, again], [gone, []])
        assert seen[3:] == [("MODIFIED", "relist", "b"), ("ADDED", "relist", "d"), ("DELETED", "relist", "c")]
        assert api.asked[-1] == "90"
        assert notes.noted("relists") == 1
        assert notes.noted("differences found by a relist") == 3


def test_fields_that_nobody_knows_are_kept() -> None:
    workers, seen = Workers(), list[Change]()
    api = FakeApi(workers, [listed(5, item("a", 3, tomorrow={"x": [1]}))], [[]])
    Watch(api, PODS, seen.append, Balance()).relist()
    assert '"tomorrow":{"x":[1]}' in seen[0].text
