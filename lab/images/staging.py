"""Files of the checkout on their way into an image: laid out as they will lie there, and hashed for the image's key.

Called by `building`. In: `Added` records. Out: a folder tree owned by root with fixed dates, or a digest. Compiled
Python and editors' leavings stay behind.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loomidi.contracts.errors import InputError
from loomidi_lab.images.records import Added

_SKIPPED = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


def listed(added: Added) -> Iterator[tuple[Path, str]]:
    """Files with the absolute names that they get. Raises InputError when the source is not there."""
    if added.source.is_file():
        yield added.source, added.target
        return
    if not added.source.is_dir():
        raise InputError(f"{added.source} is missing: an image is to hold it; run this in a whole checkout of Loomidi")
    for path in sorted(added.source.rglob("*")):
        relative = path.relative_to(added.source)
        if path.is_file() and not any(part in _SKIPPED for part in relative.parts):
            yield path, f"{added.target}/{relative.as_posix()}"


def digest(groups: Iterable[Sequence[Added]]) -> str:
    """Of names, modes and contents."""
    sha256 = hashlib.sha256()
    for number, group in enumerate(groups):
        for added in group:
            for path, target in listed(added):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                sha256.update(f"{number} {target} {added.mode:o} {content}\n".encode())
    return sha256.hexdigest()


def lay_out(group: Sequence[Added], folder: Path, newest_s: int) -> None:
    """Copy into a folder that stands for the image's root."""
    folder.mkdir(parents=True)
    for added in group:
        for path, target in listed(added):
            copy = folder / target.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(added.mode)
    settle(folder, newest_s)


def settle(folder: Path, newest_s: int) -> None:
    """Fixed dates for everything in a folder; 0755 for its folders."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(Path(parent) / name, (newest_s, newest_s), follow_symlinks=False)
        Path(parent).chmod(0o755)
        os.utime(parent, (newest_s, newest_s))
