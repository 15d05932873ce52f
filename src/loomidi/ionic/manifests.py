"""Kubernetes manifests as they are written: YAML or JSON, several documents, lists within.

Called by `loomidi policy check --manifest` and the tests. In: text. Out: objects as the API server would get them:
JSON values only, a `List` taken apart. What they mean is left to the guards. What two readers could read in two ways (a
key twice) is refused, since the guards would judge one reading and the cluster would run the other.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.ionic.errors import BadManifest

_DEEPEST = 8  # lists within lists
_TIMES = "tag:yaml.org,2002:timestamp"


def read_manifests(text: str) -> list[dict[str, Any]]:
    """Every object in the text. Raises BadManifest."""
    import yaml  # costs start-up time

    try:
        documents = [document for document in yaml.load_all(text, Loader=_loader()) if document is not None]
        plain = json.loads(json.dumps(documents))  # keys become text, as in the API
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise BadManifest(f"not a manifest: {' '.join(str(error).split())}") from error
    objects = [each for number, document in enumerate(plain, 1) for each in _objects(document, f"document {number}")]
    if not objects:
        raise BadManifest("no object in it; name a file with at least one Kubernetes object")
    return objects


def _objects(document: Any, place: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The object itself, or the items of a list."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or depth > _DEEPEST:
        raise BadManifest(f"{place}: not a Kubernetes object; it needs `apiVersion`, `kind` and `metadata`")
    if not document["kind"].endswith("List") or "items" not in document:
        yield document
        return
    items = document["items"] or []
    if not isinstance(items, list):
        raise BadManifest(f"{place}: `items` of a {document['kind']} is not a list")
    for number, item in enumerate(items, 1):
        named = {"kind": document["kind"].removesuffix("List")} | item if isinstance(item, dict) else item
        yield from _objects(named, f"{place}, item {number}", depth + 1)


@functools.cache
def _loader() -> Any:
    """A safe loader that keeps times as text, as the API does, and refuses a key that comes twice."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Mapping[Any, Any]:
            keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            if twice := {str(key) for key in keys if keys.count(key) > 1}:
                raise yaml.constructor.ConstructorError(None, None, f"key twice: {sorted(twice)}", node.start_mark)
            mapping: Mapping[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    resolvers = Loader.yaml_implicit_resolvers.items()
    Loader.yaml_implicit_resolvers = {
        first: [(tag, shape) for tag, shape in known if tag != _TIMES] for first, known in resolvers
    }
    return Loader
