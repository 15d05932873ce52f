"""An API server of a few lines, honest about versions and preconditions, that can be told to fail.

It knows no schemas, no defaults and no controllers: what those do is tested on the real one (tests/integration/kube).
"""

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

Object = dict[str, Any]
Failure = int | Exception | Callable[[], object]  # a status, no answer, or something that happens just before


class FakeApi:
    """Objects by path. `failures`: what comes instead of (or before) the next answers to a method."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.failures: dict[str, list[Failure]] = {}
        self.lost: list[str] = []  # methods of which the next one is done, and its answer lost
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, str] = {}  # of failures
        self.words = "told to fail"
        self.date = ""  # what its clock says
        self._version = 0
        self._answers = {"GET": self._get, "PATCH": self._patch, "POST": self._post, "DELETE": self._delete}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://fake", transport=httpx.MockTransport(self._handle))

    def put(self, path: str, obj: Object) -> Object:
        """Set the stage, or change something as somebody else."""
        known = self.objects.get(path, {"metadata": {"uid": f"uid-{len(self.objects)}"}})
        self.objects[path] = self._versioned(obj | {"metadata": known["metadata"] | obj.get("metadata", {})})
        return self.objects[path]

    def _versioned(self, obj: Object) -> Object:
        self._version += 1
        return copy.deepcopy(obj) | {"metadata": obj["metadata"] | {"resourceVersion": str(self._version)}}

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked[request.method] += 1
        failure = next(iter(self.failures.get(request.method, [])), None)
        if failure is not None:
            self.failures[request.method].pop(0)
        if isinstance(failure, int):
            return httpx.Response(failure, json={"message": self.words}, headers=self.headers)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            failure()
        response = self._answers[request.method](request)
        if request.method in self.lost:
            self.lost.remove(request.method)
            raise httpx.ReadTimeout("told to lose it")
        response.headers.update({"Date": self.date} if self.date else {})
        return response

    def _get(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path in self.objects:
            return httpx.Response(200, json=self.objects[path])
        inside = [obj for name, obj in self.objects.items() if name.rpartition("/")[0] == path]
        if chosen := request.url.params.get("labelSelector"):  # key, or key=value
            key, equals, value = chosen.partition("=")
            found = [(obj, (obj["metadata"].get("labels") or {}).get(key)) for obj in inside]
            inside = [obj for obj, has in found if has is not None and (not equals or has == value)]
        listing = bool(inside) or path.endswith("s")
        return httpx.Response(200, json={"metadata": {}, "items": inside}) if listing else _no(404)

    def _patch(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path not in self.objects:
            return _no(404)
        obj = copy.deepcopy(self.objects[path])
        for step in json.loads(request.content):
            *way, last = (part.replace("~1", "/").replace("~0", "~") for part in step["path"][1:].split("/"))
            inner = obj
            for key in way:
                inner = inner[key]
            if step["path"] == "/metadata/resourceVersion" and step["value"] != inner[last]:
                return _no(409)
            if step["op"] == "remove":
                del inner[last]
            else:
                inner[last] = step["value"]
        self.objects[path] = self._versioned(obj)
        return httpx.Response(200, json=self.objects[path])

    def _post(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        path = f"{request.url.path}/{body['metadata']['name']}"
        if path in self.objects:
            return _no(409)
        if "dryRun" in request.url.params:
            return httpx.Response(201, json=body)
        return httpx.Response(201, json=self.put(path, body))

    def _delete(self, request: httpx.Request) -> httpx.Response:
        path, wanted = request.url.path, json.loads(request.content)["preconditions"]
        if path not in self.objects:
            return _no(404)
        if any(self.objects[path]["metadata"][name] != what for name, what in wanted.items()):
            return _no(409)
        return httpx.Response(200, json=self.objects.pop(path))


def _no(status: int) -> httpx.Response:
    return httpx.Response(status, json={"message": "no"})
