"""Custom resource definitions out of Go modules: what a cluster has where Cilium or Istio is installed, and no more.

Called by `loomidi-lab build --with istio` and by tests that ask a bare API server. In: the sources of a module,
verified by its sum. Out: YAML in the cache, never in the checkout. Nothing of a mesh runs in the lab: its objects are
checked by the API server, and enforced by nobody.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from loomidi_lab.cluster import building, tools

_GLOBS = {
    "cilium": "pkg/k8s/apis/cilium.io/client/crds/v2*/*.yaml",
    "istio": "kubernetes/customresourcedefinitions.gen.yaml",
}


def lay_down(name: str) -> Path:
    """The folder with them, made once. Raises EnvironmentLacks when the module cannot be had."""
    home = tools.MODULES[name].home
    laid = home / "definitions"
    if laid.is_dir():
        return laid
    building.check_go()
    found, partial = building.sources(tools.MODULES[name]), home / ".definitions"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in found.glob(_GLOBS[name]):
        (partial / path.name).write_bytes(path.read_bytes())
    partial.rename(laid)
    return laid


def definitions(name: str) -> Iterator[dict[str, Any]]:
    """Each definition of a module."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a megabyte of it
    for path in sorted(lay_down(name).glob("*.yaml")):
        yield from (one for one in yaml.load_all(path.read_text(), loader) if one)
