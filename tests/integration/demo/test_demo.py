"""`loomidi demo` as a user runs it: what it claims holds, what it writes is exact, and it leaves nothing behind."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KEYS = {"decision_to_drop_ms", "first_packet_to_drop_ms", "benign_requests", "balance", "undo", "rung"}
COMMAND = [sys.executable, "-m", "loomidi", "demo"]


def rooms_of(process: int) -> list[str]:
    from pyroute2 import netns

    return [name for name in netns.listnetns() if name.startswith(f"loomidi-{process}-")]


@pytest.mark.kernel
@pytest.mark.slow
def test_everything_it_claims_held_on_real_packets(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run([*COMMAND, "--quick", "--json", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    figures = json.loads(file.read_text())
    assert set(figures) == KEYS
    assert figures["rung"] in {"xdp-native", "xdp-generic", "tc"}
    assert figures["benign_requests"]["sent"] > 0
    assert figures["benign_requests"]["lost"] == 0
    assert figures["balance"]["adds_up"] is True
    assert figures["undo"] == {"verified": True}
    for name in ("decision_to_drop_ms", "first_packet_to_drop_ms"):
        assert set(figures[name]) == {"p50", "p99", "trials"}
        assert figures[name]["trials"] == 20
    assert not re.search("\x1b", done.stdout), "plain lines when piped"
    assert "What was seen" in done.stdout


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_cleans_up_when_it_is_interrupted(how: signal.Signals) -> None:
    # A shell starts what runs in its background with SIGINT ignored; the demo is started as at a prompt.
    words = ["env", "--default-signal=INT", *COMMAND, "--quick"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not rooms_of(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(4)
    assert rooms_of(process.pid)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rooms_of(process.pid) == []
    assert "Traceback" not in errors


def test_a_folder_that_is_not_there_is_one_line() -> None:
    done = subprocess.run([*COMMAND, "--json", "/nowhere/demo.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("loomidi: /nowhere/demo.json")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_the_kernel_it_tells_the_same_story(tmp_path: Path) -> None:
    file = tmp_path / "twin.json"
    arguments = ["--twin", "--quick", "--json", str(file)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    figures = json.loads(file.read_text())
    assert set(figures) == KEYS
    assert figures["rung"] == "twin"
    assert figures["balance"]["adds_up"] is True
    assert figures["undo"] == {"verified": True}
