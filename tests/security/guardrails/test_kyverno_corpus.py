"""The policy library answers as the Kyverno policies that it stands for, on all of their own samples."""

import functools
from collections.abc import Mapping
from pathlib import Path

import pytest

from loomidi.ionic.decide import ManifestGuard
from tests.security.guardrails.corpus import Expectation, Mapped, expectations, library, mapped, mapping

pytestmark = pytest.mark.timeout(300)


@functools.lru_cache(maxsize=1)  # the samples of a policy come one after the other; each guard holds 15 MB
def guard(rules: tuple[str, ...]) -> ManifestGuard:
    """The rules that stand for one policy, and no others: what is asked is whether these refuse."""
    return ManifestGuard(rules, library=library())


def agrees(line: Mapped, expectation: Expectation) -> bool:
    verdicts = {verdict.rule: verdict for verdict in guard(line.rules).judge(expectation.manifest)}
    silent = [rule for rule, verdict in verdicts.items() if verdict.reason.startswith("no answer")]
    assert not silent, f"{expectation.name} in {expectation.source}: {silent} did not answer"
    return any(verdicts[rule].allow is not True for rule in expectation.rules) == expectation.refused


@functools.cache
def judged(archive: Path, policy: str) -> tuple[Mapping[str, int], list[str]]:
    """How many samples were expected to be refused and admitted, and those that were judged otherwise."""
    (line,) = [line for line in mapped() if line.policy == policy]
    expected = expectations(archive, line)
    wrong = [f"{e.name} in {e.source}" for e in expected if not agrees(line, e)]
    bad = sum(expectation.refused for expectation in expected)
    return {"bad": bad, "good": len(expected) - bad}, wrong


@pytest.mark.parametrize("policy", [line.policy for line in mapped()])
def test_every_bad_sample_is_refused_and_every_good_one_admitted(kyverno: Path, policy: str) -> None:
    counts, wrong = judged(kyverno, policy)
    assert wrong == []
    assert counts["bad"] > 0
    assert counts["good"] > 0


def test_enough_policies_are_mapped_and_the_table_says_how_many_samples(
    kyverno: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {line.policy: judged(kyverno, line.policy)[0] for line in mapped()}
    table = [f"{policy:75} {counts['bad']:5} {counts['good']:5}" for policy, counts in rows.items()]
    total = f"{len(rows)} policies"
    with capsys.disabled():
        print("", f"{'policy':75}   bad  good", *table, sep="\n")
        print(f"{total:75} {sum(c['bad'] for c in rows.values()):5} {sum(c['good'] for c in rows.values()):5}")
    assert len(rows) >= max(25, mapping()["least"])


def test_what_is_excepted_says_why_and_is_little() -> None:
    groups = [group for line in mapping()["policies"] for group in line.get("except", ())]
    assert all(group["because"] for group in groups)
    assert sum(len(group["samples"]) for group in groups) <= 10


def test_every_mapped_rule_is_in_the_library() -> None:
    known = library().rules
    assert [rule for line in mapped() for rule in line.rules if rule not in known] == []
