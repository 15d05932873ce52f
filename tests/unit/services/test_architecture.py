"""ARCHITECTURE.md names what is there: every file and function of the paths, and its first invariants hold."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PATHS = PAGE.split("## The paths, step by step")[1].split("\n## ")[0]
FILES = [path for folder in ("src", "bpf") for path in (ROOT / folder).rglob("*.[pch]*") if path.suffix != ".pyc"]
NAMED = re.findall(r"`([^`]+)`", PATHS)


def test_the_page_stays_short() -> None:
    assert len(PAGE.splitlines()) < 200


def test_every_file_of_the_paths_is_there() -> None:
    named = [name for name in NAMED if re.search(r"\.(py|c|h)$", name)]
    missing = [name for name in named if not any(str(path).endswith(f"/{name}") for path in FILES)]
    assert len(named) > 15
    assert missing == []


def test_every_function_of_the_paths_is_there() -> None:
    text = "\n".join(path.read_text(errors="replace") for path in FILES if path.suffix in (".py", ".c", ".h"))
    named = [name.split(".")[-1] for name in NAMED if "/" not in name and not re.search(r"\.(py|c|h)$", name)]
    assert [name for name in named if not re.search(rf"(def |class |\w ){name}\b", text)] == []


def test_the_slow_lane_reaches_no_driver() -> None:
    look = "print([m for m in sys.modules if m.startswith('loomidi.ionic.act')])"
    code = f"import loomidi.services.analyzing, sys; {look}"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"
