"""The one program that waits: first process of every node, and the whole image of every pod's sandbox.

Called by `building` (for the image) and by `cluster.building` (for nodes). In: `pause.c` and a C compiler. Out: a
static binary in the cache, compiled once for both.
"""

import subprocess
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.images import places
from loomidi_lab.images.places import Progress

_SOURCE = places.PACKAGE / "pause.c"
_FLAGS = ("-static", "-Os", "-s", "-Wall", "-Werror", "-Wl,--build-id=none")


def binary() -> Path:
    """Where it lies, compiled or not; alone in its folder, which is the image's root."""
    return places.images() / ".pause" / "pause"


def compiled(progress: Progress) -> Path:
    """Compile it unless that is done. Raises EnvironmentLacks without a compiler."""
    target = binary()
    if target.exists() and target.stat().st_mtime >= _SOURCE.stat().st_mtime:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent.with_name(".pause.partial")
    try:
        command = ("gcc", *_FLAGS, "-o", str(partial), str(_SOURCE))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EnvironmentLacks("pause.c needs a C compiler; run: apt-get install gcc libc6-dev") from None
    if done.returncode:
        words = " ".join(done.stderr.split())[:200]
        raise EnvironmentLacks(f"cannot compile pause.c: {words}; install gcc and libc6-dev")
    partial.rename(target)
    progress("pause: compiled")
    return target
