"""Where images, their layers and the prepared stores of containerd lie, and who may build there.

Called by everything in `images`. In: the environment (LOOMIDI_LAB_CACHE, XDG_CACHE_HOME). Out: paths and a lock. The
rule for the cache is that of `cluster.places`, repeated here because `cluster` imports this package.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks

PACKAGE = Path(__file__).resolve().parent
LAB = PACKAGE.parent
CHECKOUT = LAB.parent
FILES = PACKAGE / "files"
LEAST_GB = 5.0
Progress = Callable[[str], object]


def cache() -> Path:
    """Everything that the lab keeps between runs."""
    given = os.environ.get("LOOMIDI_LAB_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loomidi" / "lab"


def images() -> Path:
    """One folder for each built image, named by its key."""
    return cache() / "images"


def tags() -> Path:
    """One link for each image name, to the image that was built last under it."""
    return images() / "tags"


def downloads() -> Path:
    """Debian packages and package lists, shared by all images."""
    return images() / "apt"


def templates() -> Path:
    """One prepared store of containerd for each set of images."""
    return images() / "templates"


@contextlib.contextmanager
def building(progress: Progress) -> Iterator[Path]:
    """Hold the lock of the image cache and give a folder for half-made things, gone afterwards, emptied before."""
    images().mkdir(parents=True, exist_ok=True)
    with (images() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("images: another build is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        partial = images() / ".partial"
        remove(partial)  # what a killed build left; its mounts went with its mount namespace
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # after Ctrl-C its last writers may just be dying


def remove(folder: Path) -> None:
    """Remove a folder tree, if it is there, also one with folders that forbid listing."""
    if folder.exists():
        shutil.rmtree(folder)


def check_disk() -> None:
    """Raises EnvironmentLacks when less than 5 GB are free where images are kept."""
    folder = images()
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < LEAST_GB:
        hint = "free some, or name another place with LOOMIDI_LAB_CACHE"
        raise EnvironmentLacks(f"{folder} has {free_gb:.1f} GB free, images need {LEAST_GB:g} GB; {hint}")


def check_root() -> None:
    """Raises EnvironmentLacks without root: images hold files of many owners."""
    if os.geteuid() != 0:
        raise EnvironmentLacks("images are built as root (debootstrap, chroot, mounts); run it with sudo")
