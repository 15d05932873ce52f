"""What Kubernetes itself publishes of its objects, for each version that the chart is for, as a strict validator.

Used by the test beside it. In: a version. Out: why an object is none of that version. The OpenAPI of one is in the
sources of `k8s.io/kubernetes`, fetched once by Go and verified by the sum below. Schema alone: what admission would say
is not in it.
"""

import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

Object = dict[str, Any]
VERSIONS: Mapping[str, str] = {
    "v1.33.13": "h1:bmH31xUdSzeA5vk0wZAK9MZp11mdLuzUSeKk0qN3hPQ=",
    "v1.34.4": "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk=",
    "v1.35.4": "h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM=",
    "v1.36.4": "h1:08GT0ZOMtyCcRnslyvnpWurf1wm20KHbC/aRS+0LxSo=",
    "v1.37.2": "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=",
}
OTHERS = ("monitoring.coreos.com/v1",)  # not of Kubernetes: nothing is published there
_FREE = ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "io.k8s.apimachinery.pkg.runtime.RawExtension")


class Published:
    """The definitions of one version."""

    def __init__(self, version: str) -> None:
        """Raises OSError or CalledProcessError where Go cannot fetch it."""
        command = ("go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}")
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        told = json.loads(done.stdout)
        assert told["Sum"] == VERSIONS[version], f"the sources of {version} are others than those that were pinned"
        text = (Path(told["Dir"]) / "api" / "openapi-spec" / "swagger.json").read_text()
        self._definitions: dict[str, Object] = {
            name: _strict(name, one) for name, one in json.loads(text)["definitions"].items()
        }
        self._kinds = {
            (kind["group"], kind["version"], kind["kind"]): name
            for name, one in self._definitions.items()
            for kind in one.get("x-kubernetes-group-version-kind", ())
        }

    def problems(self, obj: Object) -> list[str]:
        """Why it is none of this version, one line each."""
        group, _, version = obj["apiVersion"].rpartition("/")
        name = self._kinds.get((group, version, obj["kind"]))
        if name is None:
            return [f"{obj['apiVersion']} {obj['kind']}: no such kind"]
        where = f"{obj['kind']}/{obj['metadata']['name']}"
        return [f"{where} {error.json_path}: {error.message[:200]}" for error in self._validator(name).iter_errors(obj)]

    @functools.cache  # noqa: B019 - as long-lived as the tests
    def _validator(self, name: str) -> Any:
        schema = {"$ref": f"#/definitions/{name}", "definitions": self._definitions}
        return jsonschema.Draft4Validator(schema)


def _strict(name: str, definition: Object) -> Object:
    """Unknown fields are refused, and numbers may stand where the API takes either."""
    if definition.get("format") == "int-or-string" or name.endswith("api.resource.Quantity"):
        return {"type": ["string", "number"]}
    kept = {key: value for key, value in definition.items() if key != "description"}
    if "properties" in kept and name not in _FREE:
        kept["additionalProperties"] = False
        kept["properties"] = dict(_properties(kept["properties"]))
    return kept


def _properties(given: Object) -> Iterator[tuple[str, Object]]:
    for name, one in given.items():
        loose = one.get("format") == "int-or-string"
        yield name, {"type": ["string", "number"]} if loose else one
