"""The wheel works alone: built here, installed into a fresh environment outside the checkout, run there."""

import json
import os
import struct
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NATIVE = ("libloomidi.so", "shield.bpf.o", "shield_inner.bpf.o", "cut.bpf.o", "generate.bpf.o")
FLOOD = 20_000


def ethernet_ipv4_tcp(source: int, destination: int, ports: tuple[int, int], flags: int) -> bytes:
    """A 54-byte frame without payload; checksums are left 0, as with offloading."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 40, 1, 0, 64, 6, 0, source, destination)
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 0, 0x50, flags, 64240, 0, 0)
    return bytes.fromhex("020000000001020000000002") + b"\x08\x00" + ip + tcp


def packets() -> Iterator[tuple[int, bytes]]:
    """(ns, frame): a SYN flood from 200 sources on one web server, 10 k packets/s for two seconds."""
    for number in range(FLOOD):
        source = 0xCB007100 + number % 200
        yield (
            1_700_000_000_000_000_000 + number * 100_000,
            ethernet_ipv4_tcp(source, 0xC0000201, (1024 + number % 60000, 80), 2),
        )


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nanosecond pcap of `packets()`."""
    path = tmp_path_factory.mktemp("capture") / "flood.pcap"
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for at_ns, frame in packets():
            file.write(struct.pack("<IIII", at_ns // 10**9, at_ns % 10**9, len(frame), len(frame)) + frame)
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment that holds the locked dependencies and the wheel."""
    home = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return home / "bin"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command far from the checkout, with none of our environment."""
    clean = {"PATH": f"{installed}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        ["loomidi", *arguments],
        cwd=installed,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
        executable=installed / "loomidi",
    )


def test_the_wheel_holds_the_compiled_parts_and_serves_every_python_3(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"loomidi/loom/native/{name}" for name in NATIVE} <= set(names)
    assert "-py3-none-linux_" in wheel.name
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_the_installed_package_is_not_the_checkout(installed: Path) -> None:
    code = "import loomidi; print(loomidi.__file__)"
    where = subprocess.run(
        [installed / "python", "-c", code], cwd="/", capture_output=True, text=True, check=True
    ).stdout
    assert str(ROOT / "src") not in where


def test_analyze_finds_the_flood(installed: Path, capture: Path) -> None:
    outcome = run(installed, "analyze", str(capture), "--json")
    document = json.loads(outcome.stdout)
    assert outcome.stderr == ""
    assert document["flows"]["packets"] == FLOOD
    assert "syn_flood" in {finding["pattern"] for finding in document["findings"]}


def test_meter_counts_every_packet(installed: Path, capture: Path) -> None:
    outcome = run(installed, "meter", str(capture), "--output", "-")
    flows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.returncode == 0
    assert sum(flow["packet_delta_count"] + flow["reverse_packet_delta_count"] for flow in flows) == FLOOD


def test_doctor_says_that_the_main_job_works(installed: Path) -> None:
    outcome = run(installed, "doctor", "--json")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout)["works"] is True
