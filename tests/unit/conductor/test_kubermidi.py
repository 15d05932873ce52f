"""The console runs what `loomidi` runs, line by line."""

import subprocess
import sys

import pytest

from loomidi.conductor.kubermidi import converse

CONSOLE = [sys.executable, "-c", "from loomidi.conductor.kubermidi import main; main()"]


def test_help_at_the_prompt_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(iter(["help"])) == 0
    assert "analyze" in capsys.readouterr().out


def test_the_exit_code_is_that_of_the_last_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(iter(["--version", "bogus", "# a comment", ""])) == 2
    assert converse(iter(["bogus", "--version"])) == 0


def test_nothing_runs_after_quit(capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(iter(["--version", "quit", "bogus"])) == 0


def test_an_open_quotation_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(iter(["analyze 'a"])) == 2
    assert capsys.readouterr().err == "loomidi: No closing quotation; close the quotation\n"


def test_lines_from_a_pipe_need_no_terminal() -> None:
    outcome = subprocess.run(CONSOLE, input="--version\nquit\n", capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("loomidi ")
