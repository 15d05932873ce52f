"""Gatekeeper, by the real gator: the templates made from our Rego refuse and admit what the rules do."""

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.integration.engines.conftest import Binary
from tests.integration.engines.samples import Samples, Table, by_rego, corpus, rules, samples, write
from tools.engines import GATEKEEPER, constraint_kind

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(300)]


def by_gator(binary: Binary, manifests: Samples, folder: Path) -> Table:
    """What `gator test` reports."""
    folders = (GATEKEEPER / "templates", GATEKEEPER / "constraints", write(manifests, folder))
    command = [str(binary("gator")), "test", "--output=json", *(f"--filename={path}" for path in folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    refused = defaultdict(set)
    for result in json.loads(done.stdout):
        refused[result["constraint"]["kind"]].add(result["violatingObject"]["metadata"]["name"])
    return {rule: frozenset(refused[constraint_kind(rule)]) for rule in rules()}


@pytest.fixture(scope="module")
def tables(binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Table]:
    """Theirs and ours on our samples."""
    return by_gator(binary, samples(), tmp_path_factory.mktemp("gator")), by_rego(samples())


@pytest.mark.parametrize("rule", rules())
def test_a_constraint_refuses_the_samples_that_the_rule_refuses_and_no_others(
    rule: str, tables: tuple[Table, Table]
) -> None:
    theirs, ours = tables
    assert theirs[rule] == ours[rule]


@pytest.mark.timeout(1800)
def test_the_corpus_is_judged_alike(binary: Binary, kyverno: Path, tmp_path: Path) -> None:
    manifests = corpus(kyverno)
    assert by_gator(binary, manifests, tmp_path) == by_rego(manifests)


def test_the_suite_that_ships_beside_them_passes(binary: Binary) -> None:
    command = [str(binary("gator")), "verify", str(GATEKEEPER / "suite.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sample_that_should_be_refused_and_is_not_fails_the_suite(binary: Binary, tmp_path: Path) -> None:
    told = (GATEKEEPER / "suite.yaml").read_text()
    suite = told.replace("violations: 'no'", "violations: 'yes'", 1)
    assert suite != told
    (tmp_path / "gatekeeper").mkdir()
    (tmp_path / "kubernetes").symlink_to(GATEKEEPER.parent / "kubernetes")
    for name in ("templates", "constraints"):
        (tmp_path / "gatekeeper" / name).symlink_to(GATEKEEPER / name)
    (tmp_path / "gatekeeper" / "suite.yaml").write_text(suite)
    command = [str(binary("gator")), "verify", str(tmp_path / "gatekeeper" / "suite.yaml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
