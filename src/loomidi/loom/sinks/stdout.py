"""Events on standard output, or on any text file that is open.

Called by `services.events`. In: letters. Out: a line each, flushed before `send` returns.
"""

import sys
from collections.abc import Sequence
from typing import TextIO

from loomidi.loom.sinks.letters import Away, Letter


class StdoutSink:
    """One stream."""

    name = "stdout"
    most = 256

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away when nobody reads any more."""
        try:
            self._file.write("".join(f"{one.body.decode()}\n" for one in letters))
            self._file.flush()
        except (OSError, ValueError) as error:
            raise Away("closed", f"standard output takes nothing: {error}") from error

    def close(self) -> None:
        """It is not ours to close."""
