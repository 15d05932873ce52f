"""Events about Folds, as `kubectl describe` and `kubectl events` show them.

Called by whoever has something to say that no condition holds: `services.folds.folding` of a ladder, the operator of
Folds that it has removed. In: a Fold, a reason in a word, a sentence. Out: an Event of the core API to be posted; the
API server lets it go by itself, an hour later by default.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.fold.resources.definitions import GROUP, VERSION
from loomidi.fold.resources.objects import moment

_LONGEST = 1000  # characters that the API server takes


def events_in(namespace: str) -> str:
    """Where they are posted."""
    return f"/api/v1/namespaces/{namespace}/events"


def event(fold: Mapping[str, Any], reason: str, message: str, *, kind: str, source: str, now_ns: int) -> dict[str, Any]:
    """`kind`: Normal or Warning. The name holds the moment, so the same sentence may come again."""
    about, at = fold["metadata"], f"{moment(now_ns)[:19]}Z"
    regarding = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Fold"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about['name'][:200]}.{now_ns:x}", "namespace": about["namespace"]},
        "involvedObject": regarding | {name: about[name] for name in ("name", "namespace", "uid")},
        "reason": reason,
        "message": message[:_LONGEST],
        "type": kind,
        "source": {"component": source},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
