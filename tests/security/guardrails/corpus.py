"""The Kyverno policies of the archive as a corpus: each policy's samples, and what its own tests expect of them.

In: the unpacked archive and rules/guardrails/kubernetes/mapping.yaml. Out: `Expectation`s. Nothing is typed in by hand:
the answers come from kyverno-test.yaml and chainsaw-test.yaml. Judging is left to the tests.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loomidi.ionic.decide import load_library
from loomidi.ionic.decide.guards.library import Library
from loomidi.ionic.manifests import read_manifests

LIBRARY = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "kubernetes"


@dataclasses.dataclass(frozen=True)
class Expectation:
    """One sample, what is to become of it, and by which of our rules."""

    manifest: Mapping[str, Any]
    refused: bool
    rules: tuple[str, ...]
    source: str  # the file that says so

    @property
    def name(self) -> str:
        """Kind and name, as `except` in the mapping writes them."""
        return f"{self.manifest['kind']}/{self.manifest['metadata'].get('name', '')}"


@dataclasses.dataclass(frozen=True)
class Mapped:
    """One line of the mapping."""

    policy: str
    by_rule: Mapping[str, str]  # the policy's rule -> ours; "" when the policy is judged as a whole
    profile: str
    excepted: frozenset[str]

    @property
    def rules(self) -> tuple[str, ...]:
        """All of our rules that stand for it."""
        return library().of_profile(self.profile) if self.profile else tuple(self.by_rule.values())

    def ours(self, rule: str) -> tuple[str, ...]:
        """Our rules for one rule of the policy."""
        return (self.by_rule[rule],) if rule and rule in self.by_rule else self.rules


@functools.cache
def library() -> Library:
    """Our rules, read once: every expectation asks for them."""
    return load_library(LIBRARY)


@functools.cache
def mapping() -> Mapping[str, Any]:
    """The mapping as it is written."""
    read: Mapping[str, Any] = yaml.safe_load((LIBRARY / "mapping.yaml").read_text())
    return read


def mapped() -> list[Mapped]:
    """Every line of the mapping."""
    return [
        Mapped(
            line["policy"],
            line.get("rules") or {"": line.get("rule", "")},
            line.get("profile", ""),
            frozenset(name for group in line.get("except", ()) for name in group["samples"]),
        )
        for line in mapping()["policies"]
    ]


def variants(archive: Path, policy: str) -> Iterator[Path]:
    """The folder of a policy and those of its variants."""
    top, rest = policy.split("/", 1)
    folders = (archive / f"{top}{suffix}" / rest for suffix in mapping()["variants"])
    return (folder for folder in folders if folder.is_dir())


def expectations(archive: Path, line: Mapped) -> list[Expectation]:
    """What the tests of a policy and of its variants expect."""
    return [
        expectation
        for folder in variants(archive, line.policy)
        for expectation in [*_by_kyverno(folder, line), *_by_chainsaw(folder, line)]
    ]


def _by_kyverno(folder: Path, line: Mapped) -> Iterator[Expectation]:
    """From the results of kyverno-test.yaml. One fail of several results for a sample is a refusal."""
    path = folder / ".kyverno-test" / "kyverno-test.yaml"
    if not path.is_file():
        return
    test = yaml.safe_load(path.read_text())
    samples = [sample for name in test["resources"] for sample in read_manifests((path.parent / name).read_text())]
    for (kind, name, rule), results in _results(test, line).items():
        verdict = {mapping()["count"].get(result) for result in results} - {None}
        for sample in _named(samples, kind, name) if verdict else ():
            yield Expectation(sample, "refused" in verdict, line.ours(rule), str(path))


def _results(test: Mapping[str, Any], line: Mapped) -> Mapping[tuple[str, str, str], set[str]]:
    """(kind, name, rule of the policy) -> results. The rule only where the mapping tells rules apart.

    A ValidatingPolicy has no names for its rules; its tests put one into a policy of its own, named as the rule.
    """
    found = defaultdict(set)
    for result in test["results"]:
        rule = next((name for name in (result.get("rule"), result.get("policy")) if name in line.by_rule), "")
        for name in result.get("resources") or [result["resource"]]:
            found[result.get("kind", ""), name, rule].add(result.get("result") or result["status"])
    return found


def _named(samples: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[Mapping[str, Any]]:
    """The samples that a result is about. A result about nothing is an error of the reader."""
    namespace, _, plain = name.rpartition("/")
    found = [
        sample
        for sample in samples
        if sample["kind"] == (kind or sample["kind"])
        and sample["metadata"].get("name") == plain
        and (not namespace or sample["metadata"].get("namespace", "default") == namespace)
    ]
    assert found, f"a result about {kind}/{name}, which no file holds"
    return found


def _by_chainsaw(folder: Path, line: Mapped) -> Iterator[Expectation]:
    """From the steps of chainsaw-test.yaml: what is applied, and whether an error is expected."""
    path = folder / ".chainsaw-test" / "chainsaw-test.yaml"
    if not path.is_file():
        return
    for file, refused in _applied(yaml.safe_load(path.read_text())):
        for sample in read_manifests((path.parent / file).read_text()):
            expectation = Expectation(sample, refused, line.rules, str(path.parent / file))
            if "kyverno" not in sample.get("apiVersion", "") and expectation.name not in line.excepted:
                yield expectation


def _applied(test: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(file, whether it is to be refused) of every step. Files outside the folder are policies."""
    for step in test["spec"]["steps"]:
        for operation in step.get("try", ()):
            applied = operation.get("apply") or operation.get("create") or {}
            if applied.get("file", "..").startswith(".."):
                continue
            checks = [check for expected in applied.get("expect", ()) for check in expected["check"].items()]
            yield applied["file"], ("($error != null)", True) in checks
