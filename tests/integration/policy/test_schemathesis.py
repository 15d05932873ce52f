"""The real service against its own description: no 5xx that is a fault, no answer that is not described."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.policy.running import Service


@pytest.mark.parametrize(
    "phases", ["examples,coverage", pytest.param("examples,coverage,fuzzing", marks=pytest.mark.lab_long)]
)
def test_schemathesis_finds_no_fault_and_no_answer_that_is_not_described(tmp_path: Path, phases: str) -> None:
    service = Service(tmp_path).start()
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    command += ["--checks", f"{checks},response_headers_conformance,unsupported_method", "--max-examples", "25"]
    command += ["--phases", phases, "--seed", "5", "--url", service.url, "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    service.kill()
    assert done.returncode == 0, done.stdout[-6000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[1]) == int(generated[2]) > 200
