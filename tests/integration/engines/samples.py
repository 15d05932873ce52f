"""Samples as every engine gets them, each under a name of its own, and what the Rego rules say about them.

Called by the tests of this folder. In: rules/guardrails/kubernetes, and the archive of the Kyverno project. Out:
manifests, and for each rule the names of those that it refuses: one table an engine, so that two engines agree when two
tables are equal.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from loomidi.ionic.decide import ManifestGuard, load_library
from loomidi.ionic.manifests import read_manifests
from tests.security.guardrails.corpus import expectations, mapped
from tools.engines import LIBRARY

Samples = Mapping[str, dict[str, Any]]
Table = Mapping[str, frozenset[str]]  # rule -> names of the samples that it refuses


@functools.cache
def rules() -> tuple[str, ...]:
    """Every rule of the library."""
    return tuple(load_library(LIBRARY).rules)


@functools.cache
def samples() -> Samples:
    """Our own: name -> manifest."""
    paths = sorted(LIBRARY.glob("samples/*/*.yaml"))
    return renamed((f"{path.parent.name}-{path.stem}", read_manifests(path.read_text())) for path in paths)


@functools.cache
def corpus(archive: Path) -> Samples:
    """Those of the Kyverno project that the rules are held to, each once."""
    texts = {json.dumps(e.manifest, sort_keys=True) for line in mapped() for e in expectations(archive, line)}
    return renamed([("corpus", [json.loads(text) for text in sorted(texts)])])


def renamed(groups: Iterable[tuple[str, list[dict[str, Any]]]]) -> Samples:
    """Each under a name of its own. One rule looks at a name (`default-deny`), so that one stays."""
    found = {}
    for group, manifests in groups:
        for number, manifest in enumerate(manifests):
            if manifest["metadata"].get("name") != "default-deny":
                manifest["metadata"]["name"] = f"{group.replace('_', '-')}-{number}"
            found[manifest["metadata"]["name"]] = manifest
    return found


def by_rego(manifests: Samples) -> Table:
    """The verdicts in process, which tests/integration/opa holds to those of OPA."""
    guard = ManifestGuard(library=load_library(LIBRARY))
    verdicts = {name: guard.judge(manifest) for name, manifest in manifests.items()}
    return {
        rule: frozenset(name for name, told in verdicts.items() for v in told if v.rule == rule and v.allow is not True)
        for rule in rules()
    }


def write(manifests: Samples, folder: Path) -> Path:
    """All of them in one file."""
    path = folder / "samples.yaml"
    path.write_text(yaml.safe_dump_all(manifests.values(), sort_keys=False))
    return path
