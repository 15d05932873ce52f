"""The C code under sanitizers: replayed on every capture there is, and fuzzed for a few seconds."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.captures import seeds

SCRIPT = Path(__file__).resolve().parents[3] / "bpf" / "fuzz" / "run.sh"
NO_RUNTIME = 3


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The replaying program, built with ASan and UBSan."""
    program = tmp_path_factory.mktemp("replay") / "replay"
    built = subprocess.run([SCRIPT, "--replay", program], capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the C compiler has no sanitizer run-time (libasan, libubsan)")
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def seed_folder(tmp_path: Path) -> Path:
    """Small captures of every form."""
    for name, octets in seeds.all_of_them().items():
        (tmp_path / name).write_bytes(octets)
    return tmp_path


def test_hand_made_captures_are_clean(replay: Path, seed_folder: Path) -> None:
    """And every one of them cut in half."""
    for path in sorted(seed_folder.iterdir()):
        half = path.with_name(f"{path.name}-half")
        half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    subprocess.run([replay, *sorted(seed_folder.iterdir())], check=True, capture_output=True)


@pytest.mark.data
def test_ndpis_captures_are_clean(replay: Path, ndpi: Path) -> None:
    """Real traffic, malformed packets among it."""
    subprocess.run([replay, *sorted((ndpi / "pcap").glob("*.pcap*"))], check=True, capture_output=True)


@pytest.mark.slow
def test_a_short_fuzz_finds_nothing(seed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """15 s of libFuzzer from the hand-made captures; `make fuzz` goes on for longer."""
    corpus = tmp_path_factory.mktemp("corpus") / "learned"
    ran = subprocess.run(
        [SCRIPT, "15", seed_folder],
        env={"LM_FUZZ_CORPUS": str(corpus), "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(corpus.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == NO_RUNTIME:
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    assert "nothing found" in ran.stdout
