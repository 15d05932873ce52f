"""A quick start and end for verbs whose work is done in C.

Called by the verb `meter`. In: nothing. Out: pyarrow imported without numpy, which takes more than half of the time
that `loomidi meter` needs to start. Only in a process of our own command: who imports us as a library keeps numpy.
"""

import gc
import os
import sys
from pathlib import Path


def import_arrow_alone() -> None:
    """Import pyarrow as if numpy were not installed; it works without since release 18. Else do nothing."""
    if not _own_process() or {"numpy", "pyarrow"} & sys.modules.keys():
        return
    gc.disable()  # all that importing makes stays: looking through it for garbage finds none
    sys.modules["numpy"] = None  # type: ignore[assignment]
    try:
        import pyarrow  # noqa: F401

        import loomidi.loom.flows
        import loomidi.loom.flows.writing  # noqa: F401
    except ImportError:  # an older release: it will be imported with numpy
        for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
            del sys.modules[name]
    finally:
        del sys.modules["numpy"]
        gc.freeze()
        gc.enable()


def leave(code: int) -> int:
    """End our own process at once: taking all modules apart again takes as long as a hundred thousand packets."""
    if _own_process():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _own_process() -> bool:
    return Path(sys.argv[0]).name == "loomidi"
