"""What is tracked: no build outputs, nothing large, no addresses of package indexes, no paths of one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 1 << 20
BUILT = re.compile(r"\.(o|so|a|whl|pyc|pcap\.gz|parquet|sqlite|egg-info)$")
MACHINE_PATH = re.compile(r"(?:^|[^\w/.-])/(?:work|root|home|farm)/[a-z.]")
PAIRS_OF_LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-image.lock")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every tracked file that is there."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The file as text; empty when it is binary."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode(errors="replace")


def test_nothing_built_is_tracked(tracked: list[Path]) -> None:
    assert [path for path in tracked if BUILT.search(path.name)] == []


def test_nothing_large_is_tracked(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > LIMIT_BYTES] == []


def test_no_path_of_one_machine_is_tracked(tracked: list[Path]) -> None:
    found = [path for path in tracked if path.name != Path(__file__).name and MACHINE_PATH.search(text_of(path))]
    assert found == []


@pytest.mark.parametrize("lock", PAIRS_OF_LOCKS)
def test_a_lock_names_versions_and_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    pins = re.findall(r"^[\w.-]+==[\w.]+", text, re.MULTILINE)
    assert pins
    assert text.count("--hash=sha256:") >= len(pins)


def test_the_locks_agree_with_each_other() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock") <= pins("requirements-bench.lock")
    assert pins("requirements.lock") <= pins("requirements-image.lock") <= pins("requirements-dev.lock")


def test_sources_are_plain_ascii_where_code_is(tracked: list[Path]) -> None:
    code = [path for path in tracked if path.suffix in {".py", ".c", ".h", ".sh"} or path.name == "Makefile"]
    assert [path for path in code if not text_of(path).isascii()] == []


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", ".ci/run", ".importlinter"]
)
def test_what_a_stranger_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_bpf_side_carries_both_licences() -> None:
    sources = [path for path in (ROOT / "bpf").rglob("*.[ch]") if "build" not in path.parts]
    assert sources
    first = {path.name: path.read_text().splitlines()[0] for path in sources}
    assert {name: line for name, line in first.items() if "SPDX-License-Identifier:" not in line} == {}
