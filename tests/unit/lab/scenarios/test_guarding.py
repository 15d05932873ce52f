"""A fault that a guard holds ends by the guard: when it is told to, when its time is over, and not before."""

import signal
import subprocess
from pathlib import Path

import pytest

from loomidi_lab.scenarios import guarding


class Guarded:
    """The guard's script as the lab would run it, beside a file that stands for the fault."""

    def __init__(self, folder: Path, seconds: float, begin: str = "") -> None:
        self.fault = folder / "fault"
        self.script = guarding.script(begin or f"touch {self.fault}", f"rm {self.fault}", seconds)

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(["sh", "-c", self.script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_fault_is_on_until_the_guard_is_told_to_end_it(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, 60)
    with guarded.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == guarding.READY
        assert guarded.fault.exists()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
    assert not guarded.fault.exists()
    assert "off" in said
    assert process.returncode == 0


def test_the_fault_ends_by_itself_when_its_time_is_over(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, 0.2)
    with guarded.start() as process:
        process.communicate(timeout=10)
    assert not guarded.fault.exists()
    assert process.returncode == 0


def test_a_fault_that_cannot_be_made_ends_the_guard_with_an_error(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, 60, begin="false")
    with guarded.start() as process:
        said, _ = process.communicate(timeout=10)
    assert guarding.READY not in said
    assert process.returncode != 0


@pytest.mark.parametrize(("words", "text"), [(("ip", "link"), "ip link"), (("a b", 3), "'a b' 3")])
def test_words_become_one_shell_command(words: tuple[object, ...], text: str) -> None:
    assert guarding.quoted(*words) == text
