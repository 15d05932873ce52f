"""The `kubermidi` console: the verbs of `loomidi` at a prompt, in one process.

Called by the console script. In: lines, from a terminal or from a pipe. Out: what each verb prints; the exit code is
that of the last line. Natural language, approvals and explanations on request come with the conductor release;
nothing here pretends to have them.
"""

import shlex
import sys
from collections.abc import Iterator

from loomidi import __version__
from loomidi.conductor.cli import guarded, loomidi, say
from loomidi.conductor.verbs import VERBS

PROMPT = "kubermidi> "
LEAVE = frozenset({"quit", "exit"})


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] not in ([], ["--help"], ["-h"]):
        say("kubermidi takes no arguments; type `help` at its prompt, or run `loomidi VERB` directly")
        sys.exit(2)
    if sys.argv[1:]:
        print("Usage: kubermidi\n\nA prompt for the verbs of loomidi; reads lines from standard input.")
        sys.exit(0)
    sys.exit(converse(_lines()))


def converse(lines: Iterator[str]) -> int:
    """Answer each line; the exit code of the last one that was a command."""
    code = 0
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            say(f"{error}; close the quotation")
            code = 2
            continue
        if words and words[0] in LEAVE:
            break
        if words:
            code = answer(words)
    return code


def answer(words: list[str]) -> int:
    """Run one line, as `loomidi` would. `help [VERB]` is `--help`."""
    if words[0] == "help":
        words = [*words[1:2], "--help"]
    return guarded(lambda: loomidi.main(args=words, prog_name="loomidi", standalone_mode=False))


def _lines() -> Iterator[str]:
    """Lines with a prompt from a terminal, without one from a pipe, until the end of input. Ctrl-C drops the line."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline

    readline.set_completer(_completed)
    readline.parse_and_bind("tab: complete")
    print(f"loomidi {__version__}; `help` lists the verbs, `quit` leaves")
    while True:
        try:
            yield input(PROMPT)
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def _completed(text: str, state: int) -> str | None:
    """The verb number `state` that starts with `text`."""
    fitting = [word for word in (*VERBS, "help", *sorted(LEAVE)) if word.startswith(text)]
    return fitting[state] if state < len(fitting) else None
