"""What scenarios carry into pods does what it says, on this machine."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from loomidi_lab.staging.loading import SCENARIOS, load, names
from loomidi_lab.staging.records import SHARED

CLOCKS = "import time; print(time.time_ns(), time.monotonic_ns(), int(time.strftime('%s')))"


def module(scenario: str, file: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), SCENARIOS / scenario / file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("no gcc here to compile the clock of clock-skew")
    code = module("clock-skew", "act.py")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    library.write_bytes(code._compiled(SCENARIOS / "clock-skew" / "skew.c"))
    return library


def clocks(library: Path, offset: Path) -> tuple[int, int, int]:
    environment = {"LD_PRELOAD": str(library), "SKEW_FILE": str(offset)}
    done = subprocess.run([sys.executable, "-c", CLOCKS], env=environment, capture_output=True, text=True, check=True)
    wall, steady, text = (int(word) for word in done.stdout.split())
    return wall, steady, text


def test_the_wall_clock_is_shifted_and_the_timers_are_not(clock: Path, tmp_path: Path) -> None:
    offset = tmp_path / "skew"
    wall, steady, _ = clocks(clock, offset)
    offset.write_text("-3600\n")
    shifted, steady_later, text = clocks(clock, offset)
    assert -3600 <= (shifted - wall) / 1e9 < -3590
    assert 0 < (steady_later - steady) / 1e9 < 10
    assert abs(text - shifted / 1e9) < 2


def test_the_mirror_serves_as_much_as_was_asked_for_and_always_the_same() -> None:
    mirror = module("package-download", "mirror.py")
    made = mirror.packages(5, 64, 7)
    assert len(made) == 5
    assert sum(map(len, made.values())) >= 5 * 64 * 1024
    assert {name: hashlib.sha256(body).digest() for name, body in made.items()} == {
        name: hashlib.sha256(body).digest() for name, body in mirror.packages(5, 64, 7).items()
    }


def test_no_payload_lies_in_two_places() -> None:
    """What two scenarios carry is in `_shared`."""
    seen: dict[str, Path] = {}
    for path in sorted(path for path in SCENARIOS.glob("*/*") if path.is_file()):
        other = seen.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
        assert other == path, f"{path} is {other} again"


def test_everything_shared_is_used_by_two_or_more() -> None:
    used = [name for scenario in names() for name in load(scenario).document.get("uses", [])]
    assert {path.name for path in SHARED.glob("*.*")} == set(used)
    assert min(used.count(name) for name in set(used)) >= 2


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_payloads_are_programs_of_the_python_in_pods(path: Path) -> None:
    """Pods have Python 3.11."""
    compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
