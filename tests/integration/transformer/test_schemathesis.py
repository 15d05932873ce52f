"""The real service against its own description: every check, with data that fits it and data that does not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.transformer.running import SCAN, Service


@pytest.mark.parametrize(
    "phases", ["examples,coverage", pytest.param("examples,coverage,fuzzing", marks=pytest.mark.lab_long)]
)
def test_schemathesis_finds_nothing_that_is_not_as_described(tmp_path: Path, phases: str) -> None:
    service = Service(tmp_path).start()
    service.post("/analyze/anomaly", SCAN)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    command += ["--checks", "all", "--max-examples", "25", "--mode", "all"]
    command += ["--phases", phases, "--seed", "5", "--url", service.url, "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=550)
    service.kill()
    assert done.returncode == 0, done.stdout[-9000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[1]) == int(generated[2]) > 200
