"""The `loomidi` command: finds a verb, runs it, turns errors into one line and an exit code.

Called by the console script and by `python -m loomidi`. In: arguments. Out: the exit code (0 ok, 1 found or refused,
2 usage or environment, 130 interrupted). Leaves the work to `conductor.verbs`, each imported only when it is called.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from loomidi import __version__
from loomidi.conductor.verbs import VERBS
from loomidi.contracts.errors import LoomidiError
from loomidi.kit import leaving, logging, settings

INTERRUPTED = 130
_log = logging.logger("conductor")


class Verbs(click.Group):
    """A group whose commands are the files of `conductor.verbs`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's file; None for a verb that is not in the table."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"loomidi.conductor.verbs.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help list from the table, so that `--help` imports no verb."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="loomidi %(version)s")
@click.pass_context
def loomidi(context: click.Context) -> None:
    """From packets to an explained, reversible block.

    Exit codes: 0 ok, 1 found or refused, 2 usage or environment.
    """
    context.obj = settings.read(os.environ)
    logging.configure(context.obj.logging)


def say(message: str, program: str = "loomidi") -> None:
    """One line on standard error, in the program's name."""
    sys.stderr.write(f"{program}: {' '.join(message.split())}\n")


def guarded(run: Callable[[], Any], program: str = "loomidi") -> int:
    """Run; turn every failure into one line on standard error and an exit code. No traceback, but in the log."""
    try:
        outcome = run()
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else program
        say(f"{error.format_message().rstrip('.')}; see `{where} --help`", program)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except settings.BadSetting as error:
        say(f"{error}; see docs/settings.md", program)
        return 2
    except LoomidiError as error:
        say(str(error), program)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has what it wanted
        return 0
    except Exception as error:  # noqa: BLE001 - the edge: a person reads this
        return _unexpected(error, program)
    return outcome if isinstance(outcome, int) else 0


def _unexpected(error: Exception, program: str) -> int:
    """A fault that nobody mapped: an error of the system in its own words, anything else as the bug that it is."""
    _log.debug("unexpected", exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror, program)
    else:
        where = "LOOMIDI_LOGGING_LEVEL=debug shows where"
        say(f"internal error, please report it: {type(error).__name__}: {error} ({where})", program)
    return 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    code = guarded(lambda: loomidi.main(args=arguments, prog_name="loomidi", standalone_mode=False))
    sys.exit(code if arguments is not None else leaving.told(code))  # with arguments it is a part of another process
