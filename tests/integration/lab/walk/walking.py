"""Follows a page: one bash for all its steps, so that each has the names and folders of those before it.

Used by the test beside it. In: a folder, what the page's names stand for. Out: what each step says; AssertionError
where one fails, or where the page says that something is seen which is not.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.lab.walk.pages import Step

_STRICT = "set -euo pipefail; exec 2>&1\n"  # whatever fails ends the shell, as a reader would stop


class Walker:
    """One reader of one page."""

    def __init__(self, folder: Path, scripts: Path, environment: Mapping[str, str]) -> None:
        """`folder`: where the page is followed. `scripts`: for the steps, one file each."""
        self._scripts, self._taken = scripts, 0
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._say(_STRICT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.close()
        with self._shell.stdout:
            if self._shell.poll() is None and kind is not None:
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()

    def take(self, step: Step) -> str:
        """What it says. Its own standard input is empty, so that no command eats the page."""
        self._taken += 1
        script, end = self._scripts / f"step-{self._taken}.sh", f"-- end of step {self._taken} --"
        script.write_text(step.script)
        self._say(f"source {script} </dev/null; printf '\\n%s\\n' '{end}'\n")
        output, ended = self._hear(end)
        told = f"line {step.line} of the page:\n{step.script}\nsaid:\n{output}"
        print(told)
        assert ended, f"a step fails; {told}"
        assert not (lacking := step.lacking(output)), f"not seen: {lacking!r}; {told}"
        return output

    def _say(self, words: str) -> None:
        assert self._shell.stdin
        self._shell.stdin.write(words)
        self._shell.stdin.flush()

    def _hear(self, end: str) -> tuple[str, bool]:
        """Everything up to a line, and whether the line came."""
        assert self._shell.stdout
        heard: list[str] = []
        for line in self._shell.stdout:
            if line.rstrip("\n") == end:
                return "".join(heard), True
            heard.append(line)
        return "".join(heard), False
