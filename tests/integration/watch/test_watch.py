"""A pod scans another, live: found by name within seconds, the fold is its isolation, the balance adds up."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.capture.twin import frames
from loomidi.services.incidents.replays import replay_all
from loomidi.services.sightings import Sighting
from loomidi.services.watching import Watch, WatchSettings
from tests.integration.watch import rooms as r

pytestmark = pytest.mark.kernel

ROWS = (
    {"address": r.A, "kind": "Pod", "namespace": "shop", "name": "scanner-x", "uid": "u1", "labels": {"app": "s"}},
    {"address": r.B, "kind": "Pod", "namespace": "shop", "name": "cart-0", "uid": "u2", "labels": {"app": "cart"}},
)


@pytest.fixture(autouse=True)
def space() -> Iterator[None]:
    with r.rooms():
        yield


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    path = tmp_path / "entities.jsonl"
    path.write_text("".join(json.dumps(row | {"from_ns": 1, "to_ns": 0}) + "\n" for row in ROWS))
    return path


@contextlib.contextmanager
def watching(*options: str) -> Iterator[subprocess.Popen[str]]:
    """`loomidi watch` on the node's links, once it reads both."""
    command = [sys.executable, "-m", "loomidi", "watch", "veth*", "--netns", r.NODE, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            r.until(lambda: _sockets() == 2 or process.poll() is not None, "loomidi watch did not start")
            yield process
        finally:
            process.kill()


def _sockets() -> int:
    """Bound to an interface, so that packets arrive."""
    told = subprocess.run(
        ["nsenter", f"--net=/run/netns/{r.NODE}", "cat", "/proc/net/packet"], capture_output=True, text=True, check=True
    )
    return sum(line.split()[4] != "0" for line in told.stdout.splitlines()[1:])


def ended(process: "subprocess.Popen[str]", number: int = signal.SIGINT) -> tuple[list[str], str]:
    process.send_signal(number)
    told, errors = process.communicate(timeout=30)
    return told.splitlines(), errors


def parsed(lines: list[str], kind: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, lines) if event["type"] == kind]


def test_a_scan_is_told_while_it_is_watched_with_names_and_the_pods_isolation(entities: Path) -> None:
    found: list[Sighting] = []
    with Watch([(r.NODE, "veth*")], WatchSettings(summary_s=0), entities=str(entities)) as watch:
        thread = threading.Thread(target=lambda: found.extend(e for e in watch if isinstance(e, Sighting)))
        thread.start()
        began = time.time_ns()
        r.scan(range(1000, 1060))
        r.until(lambda: found, "the scan was not found")
        watch.stop()
        thread.join()
    told = found[0]
    finding = told.named.finding
    assert (finding.pattern, finding.techniques) == ("vertical_scan", ("T1046",))
    assert finding.entities == ("pod/shop/scanner-x", "pod/shop/cart-0")
    assert finding.first_ns > began
    (proposed,) = told.folds
    assert (proposed.fold.kind, proposed.fold.target, proposed.allowed) == ("ISOLATE_POD", "pod/shop/scanner-x", True)
    assert proposed.fold.manifest["metadata"]["namespace"] == "shop"


def test_the_command_tells_json_lines_and_ends_with_the_balance(entities: Path, tmp_path: Path) -> None:
    flows = tmp_path / "flows.jsonl"
    with watching("--json", "--entities", str(entities), "--flows", str(flows), "--every", "1") as process:
        before = r.counted(r.NODE, "vetha")
        r.scan(range(1000, 1060))
        assert process.stdout is not None
        lines = []
        while '"type":"finding"' not in (lines or [""])[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended before the scan was found"
        after = r.counted(r.NODE, "vetha")
        more, errors = ended(process, signal.SIGTERM)
    assert (process.returncode, errors) == (1, "")
    lines += more
    (finding,) = [event for event in parsed(lines, "finding") if event["state"] == "new"]
    assert [entity["name"] for entity in finding["entities"]] == ["scanner-x", "cart-0"]
    balance = json.loads(lines[-1])
    assert (balance["type"], balance["adds_up"]) == ("balance", True)
    assert balance["links"][f"{r.NODE}/vetha"]["received"] == after - before
    assert balance["counts"]["again"] == balance["counts"]["flows"]  # both links saw every conversation
    rows = [json.loads(line) for line in flows.read_text().splitlines()]
    assert len(rows) == balance["counts"]["flows"]
    assert {row["source_entity"] for row in rows if row["protocol_identifier"] == 6} == {"pod/shop/scanner-x"}


def test_the_command_tells_people_names_beside_addresses(entities: Path) -> None:
    with watching("--manifests", "--entities", str(entities), "--duration", "9", "--every", "0") as process:
        r.scan(range(1000, 1060))
        told, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")
    assert "Port scan of a host: pod/shop/scanner-x (10.244.1.5) -> pod/shop/cart-0 (10.244.1.6)  T1046" in told
    assert "would ISOLATE_POD: Cut pod/shop/scanner-x off from the network" in told
    assert "namespace: shop" in told
    assert told.splitlines()[-1].endswith(" updates; 1 folds proposed, none applied")
    assert ", adds up;" in told.splitlines()[-1]


def test_nothing_found_is_exit_code_0() -> None:
    with watching("--duration", "1") as process:
        told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert told.splitlines()[-1].startswith("loomidi: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--netns", "lm-none9"], "loomidi: lm-none9: no such network namespace; `ip netns` lists them\n"),
        (["--protect", "x"], "loomidi: 'x' is no address or CIDR; write it like 192.0.2.0/24\n"),
        (["--duration", "-1"], "loomidi: duration -1 s: use a number of seconds above 0\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "loomidi", "watch", "eth0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, said)


def test_what_is_found_is_kept_as_a_test_with_headers_alone_and_is_caught_again(tmp_path: Path) -> None:
    with watching("--json", "--incidents", str(tmp_path / "kept")) as process:
        r.scan(range(1000, 1060))
        assert process.stdout is not None
        while '"type":"finding"' not in (line := process.stdout.readline()):
            assert line, "it ended before the scan was found"
        _, errors = ended(process)
    assert "incident vertical_scan-" in errors
    (incident,) = (tmp_path / "kept").iterdir()  # and nothing that was put aside is left
    assert max(len(frame.octets) for frame in frames(incident / "excerpt.pcapng")) <= 128
    (again,) = replay_all(tmp_path / "kept")
    assert (again.pattern, again.problem) == ("vertical_scan", "")
    assert again.after is not None
