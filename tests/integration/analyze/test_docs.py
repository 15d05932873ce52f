"""docs/analyze.md tells the truth: its example is what the command prints, and every option is in it.

When the example is out of date: `python -m tests.integration.analyze.test_docs` writes the present one.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from loomidi.conductor.verbs.analyze import command
from loomidi.loom.capture import synthetic

PAGE = Path(__file__).resolve().parents[3] / "docs" / "analyze.md"
EXAMPLE = re.compile(r"```text\n(.*?)```", re.DOTALL)


def example(folder: Path) -> str:
    """What the command of the page prints for the capture of the page."""
    synthetic.write_capture(
        folder / "scan.pcap", synthetic.mixed(synthetic.vertical_scan(), synthetic.benign_http(connections=900))
    )
    outcome = subprocess.run(
        [sys.executable, "-m", "loomidi", "analyze", "scan.pcap"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    return "".join(line.rstrip() + "\n" for line in outcome.stdout.splitlines())


def test_the_example_is_what_the_command_prints(tmp_path: Path) -> None:
    (shown,) = EXAMPLE.findall(PAGE.read_text())
    assert shown == example(tmp_path), __doc__


def test_every_option_is_on_the_page() -> None:
    names = [name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"]
    assert [name for name in names if f"`{name}" not in PAGE.read_text()] == []


def test_the_python_example_runs(tmp_path: Path) -> None:
    example(tmp_path)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    outcome = subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert outcome.stdout.startswith("vertical_scan 0.")
    assert "RECONFIGURE_NETWORK True {'apiVersion'" in outcome.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        now = example(Path(made))
    PAGE.write_text(EXAMPLE.sub(lambda _: f"```text\n{now}```", PAGE.read_text()))
