"""How a thread stays ready: nothing of its own process makes it wait.

Called by `fastlane` around its loop. In and out: nothing. What it changes is put back after. Leaves other processes to
the kernel's scheduler: round robin at the lowest real-time priority where that is permitted, else as before.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TURN_S = 0.0001  # what another thread may hold the interpreter for while the loop wants it


@contextmanager
def poised() -> Iterator[None]:
    """This thread does not pause by itself: no collector, others have short turns, first in the queue if allowed."""
    was = gc.isenabled(), sys.getswitchinterval(), os.sched_getscheduler(0), os.sched_getparam(0)
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(_TURN_S)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, was[2], was[3])
        sys.setswitchinterval(was[1])
        gc.unfreeze()
        if was[0]:
            gc.enable()
