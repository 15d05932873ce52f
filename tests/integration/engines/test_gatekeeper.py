"""Gatekeeper, by the real gator: the templates made from our Rego refuse and admit what the rules do."""

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.integration.engines.conftest import Binary
from tests.integration.engines.samples import Table, by_rego, rules, write_samples
from tools.engines import GATEKEEPER, constraint_kind

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def by_gator(binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> Table:
    samples = write_samples(tmp_path_factory.mktemp("gator"))
    folders = (GATEKEEPER / "templates", GATEKEEPER / "constraints", samples)
    command = [str(binary("gator")), "test", "--output=json", *(f"--filename={path}" for path in folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    refused = defaultdict(set)
    for result in json.loads(done.stdout):
        refused[result["constraint"]["kind"]].add(result["violatingObject"]["metadata"]["name"])
    return {rule: frozenset(refused[constraint_kind(rule)]) for rule in rules()}


@pytest.mark.parametrize("rule", rules())
def test_a_constraint_refuses_the_samples_that_the_rule_refuses_and_no_others(rule: str, by_gator: Table) -> None:
    assert by_gator[rule] == by_rego()[rule]


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
