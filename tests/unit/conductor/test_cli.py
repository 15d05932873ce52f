"""The command line: what it prints and returns when used well and when not."""

import subprocess
import sys

import click
import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.conductor.verbs import VERBS
from loomidi.contracts.errors import InputError, Refused
from loomidi.kit import logging, settings


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loomidi", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        check=False,
    )


def test_help_lists_every_verb() -> None:
    outcome = run("--help")
    assert outcome.returncode == 0
    assert all(verb in outcome.stdout for verb in VERBS)


def test_help_imports_no_heavy_library() -> None:
    code = "import sys; from loomidi.conductor.cli import guarded, loomidi; guarded(lambda: loomidi.main(['--help'], \
standalone_mode=False)); print(sorted({'rich','pyarrow','yaml','structlog','numpy','regopy'} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_an_unknown_verb_is_one_line_and_exit_2() -> None:
    outcome = run("bogus")
    assert outcome.returncode == 2
    assert outcome.stderr == "loomidi: No such command 'bogus'; see `loomidi --help`\n"


def test_a_bad_setting_is_one_line_and_exit_2() -> None:
    outcome = run("doctor", LOOMIDI_LOGGING_LEVEL="loud")
    assert outcome.returncode == 2
    assert "LOOMIDI_LOGGING_LEVEL is 'loud'" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a.pcap is empty; give a capture"), 2, "loomidi: a.pcap is empty; give a capture\n"),
        (Refused("no"), 1, "loomidi: no\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "loomidi: x: No such file or directory\n"),
        (click.Abort(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_failure_has_its_line_and_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr().err == said


def test_a_bug_is_named_as_one_and_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: 1 // 0) == 2
    said = capsys.readouterr().err
    assert "internal error, please report it: ZeroDivisionError" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("json", [False, True])
def test_the_log_at_debug_shows_where_a_bug_is(capsys: pytest.CaptureFixture[str], json: bool) -> None:
    logging.configure(settings.Logging(level="debug", json=json))
    assert guarded(lambda: 1 // 0) == 2
    logging.configure(settings.Logging())
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly() -> None:
    command = f'{sys.executable} -c "import itertools\nfrom loomidi.conductor.cli import guarded\n\
raise SystemExit(guarded(lambda: [print(i) for i in range(100000)]))" | head -1'
    outcome = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (outcome.stdout, outcome.stderr) == ("0\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_table_exists_and_has_help(verb: str) -> None:
    command = loomidi.get_command(click.Context(loomidi), verb)
    assert isinstance(command, click.Command)
    assert command.help
