"""Both custom resource definitions as the API server takes them.

Called by `folds` and `policies`. In: names, a schema, columns. Out: a CustomResourceDefinition as a plain dict. Writing
it down is left to `tools/crds.py`, applying it to whoever installs Loomidi.
"""

import dataclasses
from typing import Any

from loomidi.fold.resources.schemas import Schema

GROUP, VERSION = "loomidi.io", "v1alpha1"


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What a resource is called."""

    kind: str
    plural: str
    short: tuple[str, ...]
    scope: str  # Namespaced, Cluster


def column(name: str, path: str, told: str, *, wide: bool = False, kind: str = "string") -> dict[str, Any]:
    """One column of `kubectl get`; a wide one is shown with `-o wide`."""
    priority = {"priority": 1} if wide else {}
    return {"name": name, "type": kind, "description": told, "jsonPath": path, **priority}


AGE = column("Age", ".metadata.creationTimestamp", "How long ago it was made.", kind="date")


def definition(names: Names, schema: Schema, columns: list[dict[str, Any]], fields: tuple[str, ...]) -> dict[str, Any]:
    """The definition; `fields` may be selected by."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "selectableFields": [{"jsonPath": field} for field in fields],
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    called = {
        "kind": names.kind,
        "listKind": f"{names.kind}List",
        "plural": names.plural,
        "singular": names.kind.lower(),
        "shortNames": list(names.short),
        "categories": ["loomidi"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "loomidi"}},
        "spec": {"group": GROUP, "names": called, "scope": names.scope, "versions": [version]},
    }


def root(description: str, spec: Schema, status: Schema) -> Schema:
    """The object around spec and status."""
    known = {
        "apiVersion": {"description": "Version of the schema that the object is written in.", "type": "string"},
        "kind": {"description": "Kind of the object.", "type": "string"},
        "metadata": {"type": "object"},
    }
    kind = {"description": description, "type": "object", "required": ["spec"]}
    return {**kind, "properties": {**known, "spec": spec, "status": status}}
