"""Our samples as every engine gets them, each under a name of its own, and what the Rego rules say about them.

Called by the tests of this folder. In: rules/guardrails/kubernetes. Out: manifests, and for each rule the names of the
samples that it refuses: one table an engine, so that two engines agree when two tables are equal.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from loomidi.ionic.decide import ManifestGuard, load_library
from loomidi.ionic.manifests import read_manifests
from tools.engines import LIBRARY

Table = Mapping[str, frozenset[str]]  # rule -> names of the samples that it refuses


@functools.cache
def rules() -> tuple[str, ...]:
    """Every rule of the library."""
    return tuple(load_library(LIBRARY).rules)


@functools.cache
def samples() -> Mapping[str, dict[str, Any]]:
    """Name -> manifest. One rule looks at a name (`default-deny`), so that one stays."""
    found = {}
    for path in sorted(LIBRARY.glob("samples/*/*.yaml")):
        for number, manifest in enumerate(read_manifests(path.read_text())):
            name = f"{path.parent.name}-{path.stem.replace('_', '-')}-{number}"
            if manifest["metadata"]["name"] != "default-deny":
                manifest["metadata"]["name"] = name
            found[manifest["metadata"]["name"]] = manifest
    return found


@functools.cache
def by_rego() -> Table:
    """The verdicts in process, which tests/integration/opa holds to those of OPA."""
    guard = ManifestGuard(library=load_library(LIBRARY))
    verdicts = {name: guard.judge(manifest) for name, manifest in samples().items()}
    return {
        rule: frozenset(name for name, told in verdicts.items() for v in told if v.rule == rule and v.allow is not True)
        for rule in rules()
    }


def write_samples(folder: Path) -> Path:
    """All of them in one file."""
    path = folder / "samples.yaml"
    path.write_text(yaml.safe_dump_all(samples().values(), sort_keys=False))
    return path
