"""A process with threads of Rust leaves with its own code, after all others that wanted to say something at its end."""

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys, threading, time
from loomidi.kit import leaving
leaving.at_once()
atexit.register(lambda: print("handler"))
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.exit({ended})
"""


@pytest.mark.parametrize("code", [0, 1])
def test_threads_and_handlers_come_first_and_the_code_is_kept(code: int) -> None:
    words = [sys.executable, "-c", SCRIPT.format(ended=f"leaving.told({code})")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout.split()) == (code, ["thread", "handler"])


def test_without_a_code_nothing_is_changed() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT.format(ended=3)], capture_output=True, check=False, timeout=60)
    assert ran.returncode == 3
