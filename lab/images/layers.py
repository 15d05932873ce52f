"""A folder of differences (the upper folder of an overlay, or a whole root) becomes a layer: a tar as OCI wants it.

Called by `building`. In: a folder, the latest date that a file may carry. Out: `Layer`. The same folder gives the same
bytes: entries are sorted, dates cut, owners numeric. Left out: sockets (counted) and what a container gets from its
runtime anyway (below /dev, /proc and /sys).
"""

import hashlib
import io
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from loomidi_lab.images.records import Layer

_RUNTIME = frozenset({"dev", "proc", "sys"})
_OPAQUE = "trusted.overlay.opaque"
_CHUNK = 1 << 20
_KINDS = (
    (stat.S_ISREG, tarfile.REGTYPE),
    (stat.S_ISDIR, tarfile.DIRTYPE),
    (stat.S_ISLNK, tarfile.SYMTYPE),
    (stat.S_ISCHR, tarfile.CHRTYPE),
    (stat.S_ISBLK, tarfile.BLKTYPE),
    (stat.S_ISFIFO, tarfile.FIFOTYPE),
)


def write(folder: Path, target: Path, newest_s: int) -> Layer:
    """Write the layer of a folder to a file."""
    with target.open("wb") as file:
        digesting = _Digesting(file)
        with tarfile.open(fileobj=digesting, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
            packing = _Packing(tar, newest_s)
            for name, path in walk(folder):
                packing.add(name, path)
    return Layer(target, digesting.digest, digesting.size_bytes, dict(packing.left_out))


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a folder with its name relative to it: a folder before what is in it, names in order."""
    waiting = _listed(folder, "")
    while waiting:
        name, path = waiting.pop()
        yield name, path
        if name not in _RUNTIME and path.is_dir() and not path.is_symlink():
            waiting.extend(_listed(path, f"{name}/"))


def _listed(folder: Path, prefix: str) -> list[tuple[str, Path]]:
    names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names alone; the last is popped first
    return [(f"{prefix}{name}", folder / name) for name in names]


class _Digesting(io.RawIOBase):
    """Writes through to a file and knows digest and size of what went by."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        self.size_bytes += len(data)
        return self._target.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


class _Packing:
    """One tar being written."""

    def __init__(self, tar: tarfile.TarFile, newest_s: int) -> None:
        self._tar = tar
        self._newest_s = newest_s
        self._first: dict[tuple[int, int], str] = {}  # inode -> the name that holds its content in this tar
        self.left_out: Counter[str] = Counter()

    def add(self, name: str, path: Path) -> None:
        """One file or folder."""
        status = path.lstat()
        parent, _, last = name.rpartition("/")
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # how overlayfs says: deleted
            self._marker(f"{parent}/.wh.{last}" if parent else f".wh.{last}")
            return
        kind = next((kind for matches, kind in _KINDS if matches(status.st_mode)), None)
        if kind is None:
            self.left_out["socket"] += 1
            return
        entry = self._entry(name, status, kind)
        self._attributes(entry, path)
        if kind == tarfile.SYMTYPE:
            entry.linkname = str(path.readlink())
        if kind == tarfile.REGTYPE and not self._linked(entry, status):
            with path.open("rb") as content:
                self._tar.addfile(entry, content)
            return
        self._tar.addfile(entry)
        if kind == tarfile.DIRTYPE and _opaque(path):
            self._marker(f"{name}/.wh..wh..opq")

    def _entry(self, name: str, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.mode = stat.S_IMODE(status.st_mode)
        entry.uid, entry.gid = status.st_uid, status.st_gid
        entry.mtime = min(int(status.st_mtime), self._newest_s)
        if kind == tarfile.REGTYPE:
            entry.size = status.st_size
        if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return entry

    def _attributes(self, entry: tarfile.TarInfo, path: Path) -> None:
        """Capabilities and user attributes. What overlayfs wrote for itself stays behind."""
        names = sorted(os.listxattr(path, follow_symlinks=False))
        entry.pax_headers = {
            f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")
            for name in names
            if name == "security.capability" or name.startswith("user.")
        }

    def _linked(self, entry: tarfile.TarInfo, status: os.stat_result) -> bool:
        """Make a second name of a file a link to the first."""
        if status.st_nlink < 2:
            return False
        first = self._first.setdefault((status.st_dev, status.st_ino), entry.name)
        if first == entry.name:
            return False
        entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, first, 0
        return True

    def _marker(self, name: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = 0o644, self._newest_s
        self._tar.addfile(entry)


def _opaque(folder: Path) -> bool:
    """Whether overlayfs marked it so: nothing of the layers below shows through."""
    return _OPAQUE in os.listxattr(folder) and os.getxattr(folder, _OPAQUE) == b"y"
