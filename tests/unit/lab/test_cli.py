"""`loomidi-lab` finds its verbs, says what is wrong in one line, and its page names them all."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from loomidi_lab.cli import VERBS, lab

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "lab.md").read_text()
IN_PROCESS = "import sys; from loomidi_lab.cli import main; main(sys.argv[1:])"


def loomidi_lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", IN_PROCESS, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_and_says_what_it_does(verb: str) -> None:
    command = lab.get_command(click.Context(lab), verb)
    assert isinstance(command, click.Command)
    assert command.help


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_names_every_verb(verb: str) -> None:
    assert f"`loomidi-lab {verb}" in PAGE or f"`{verb}" in PAGE or f"loomidi-lab {verb}\n" in PAGE


def test_help_imports_no_verb_and_lists_them_all() -> None:
    done = loomidi_lab("--help")
    assert done.returncode == 0
    assert [verb for verb in VERBS if verb not in done.stdout] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dwon",), "No such command 'dwon'"),
        (("up", "--network", "flannel"), "is not one of 'bridge', 'cilium'"),
        (("run", "scan-servces"), "scan-services"),
        (("exec", "--name", "nowhere", "n1", "true"), "no lab nowhere is up"),
        (("verify", "/nowhere"), "/nowhere"),
        (("record", "--plan", "smoke", "--seed", "1", "--out", "/dev/null/x", "--name", "nowhere"), ""),
        (("build", "--with", "flannel"), "no module 'flannel'; there is cilium"),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_2(words: tuple[str, ...], says: str) -> None:
    done = loomidi_lab(*words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("loomidi-lab: ")
    assert says in done.stderr
