"""The examples of docs/ingest.md run as they stand, and their rows are on the bus."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.bus.brokers import NatsBroker
from tests.integration.ingest.running import Service, held
from tests.unit.services.ingesting import capture, packet

pytestmark = pytest.mark.required
PAGE = Path(__file__).resolve().parents[3] / "docs" / "ingest.md"


def test_every_example_is_accepted(service: Service, broker: NatsBroker) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = script.replace("http://127.0.0.1:8080/loom-api", service.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    decoder, answers, text = json.JSONDecoder(), [], done.stdout
    while text.strip():
        answer, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        answers.append(answer)
    assert [answer["accepted"]["rows"] for answer in answers] == [1, 2, 2, 1, 1, 1]
    assert answers[3]["id"] == answers[4]["id"]
    assert answers[5]["refused"]["rows"] == 1
    assert '{"rack":"r7"}' in held(broker, "metrics")["extra"].to_pylist()


def test_the_example_of_a_capture_is_accepted(service: Service, broker: NatsBroker, tmp_path: Path) -> None:
    (tmp_path / "capture.pcap").write_bytes(capture([packet(1), packet(2)]))
    (command,) = re.findall(r"^```text\n(curl.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = f"API={service.url}\n{command}"
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["packets"] == {"accounted": 2}
    flows = held(broker, "flows")
    assert set(zip(flows["exporter"].to_pylist(), flows["link"].to_pylist(), strict=True)) == {("node-1", "eth0")}
