"""The end of a process that runs threads of a library in Rust: it leaves before the interpreter takes itself apart.

Called by `conductor.cli` with the exit code, and by whoever starts such threads. At its end CPython 3.11 stops a thread
that asks for its lock by unwinding its stack; in frames of Rust that is an abort, with no word of what was done. So
after every thread that is waited for has ended and every other exit handler has run, the process leaves with its code.
"""

import atexit
import os
import sys

_told: list[int] = []  # the exit code, once it is known
_asked: list[bool] = []


def told(code: int) -> int:
    """Remember how the process ends; the code itself."""
    _told[:] = [code]
    return code


def at_once() -> None:
    """Leave so at the end of this process, if its code is told until then. Exit handlers that come later run before."""
    if not _asked:
        _asked.append(True)
        atexit.register(_leave)


def _leave() -> None:
    if _told:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_told[0])
