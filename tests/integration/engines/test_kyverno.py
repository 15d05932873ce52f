"""Kyverno, by its real command: both kinds of policy refuse and admit what our rules do."""

import dataclasses
import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.integration.engines.conftest import Binary
from tests.integration.engines.samples import Samples, Table, by_rego, rules, samples, write
from tools.engines import KYVERNO, policy_name

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(600)]
FORMS = ("cluster-policies", "validating-policies")


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What `kyverno apply` reported."""

    refused: Table  # failed or errored: with failurePolicy Fail either is a no
    errored: frozenset[tuple[str, str, str]]  # rule, sample, message
    answered: Table


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ours() -> Table:
    return by_rego(samples())


@pytest.fixture(scope="module")
def applied(form: str, binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    return apply(binary, form, samples(), tmp_path_factory.mktemp("kyverno"))


def apply(binary: Binary, form: str, manifests: Samples, folder: Path) -> Applied:
    """What `kyverno apply` reports."""
    command = [str(binary("kyverno")), "apply", str(KYVERNO / form), "--resource", str(write(manifests, folder))]
    command += ["--policy-report", "--output-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "{" in done.stdout, done.stdout + done.stderr
    return read(done.stdout[done.stdout.index("{") :])


def read(report: str) -> Applied:
    """The results of a ClusterReport."""
    by_policy = {policy_name(rule): rule for rule in rules()}
    by_result: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    errored = set()
    for result in json.loads(report)["results"]:
        rule = by_policy[result["policy"]]
        (name,) = [each["name"] for each in result["resources"]]
        by_result[result["result"]][rule].add(name)
        if result["result"] == "error":
            errored.add((rule, name, result["message"]))
    assert set(by_result) <= {"pass", "fail", "error"}
    table = {rule: frozenset(by_result["fail"][rule] | by_result["error"][rule]) for rule in rules()}
    answered = {rule: table[rule] | by_result["pass"][rule] for rule in rules()}
    return Applied(table, frozenset(errored), answered)


@pytest.mark.parametrize("rule", rules())
def test_a_policy_refuses_the_samples_that_the_rule_refuses_and_no_others(
    rule: str, applied: Applied, ours: Table
) -> None:
    assert applied.refused[rule] == ours[rule]


def test_every_policy_answers(applied: Applied) -> None:
    assert [rule for rule, names in applied.answered.items() if not names] == []


def test_only_what_the_api_server_would_not_take_ends_in_an_error(applied: Applied) -> None:
    assert {sample for _, sample, _ in applied.errored} <= {"refused-well-formed-0"}
