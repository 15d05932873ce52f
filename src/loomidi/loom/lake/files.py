"""The lake's files: pyiceberg's own file access by pyarrow, made durable, and what lies in a folder.

Loaded by pyiceberg by its name (`IMPLEMENTATION`), called by `loom.lake` for listing and removing. In: locations as
tables write them (file:///..., s3://...). A local file is on the disk when its stream is closed.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlparse

import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

IMPLEMENTATION = "loomidi.loom.lake.files.LakeFiles"
DURABLE = "loomidi.durable"


class Found(NamedTuple):
    """A file under a location."""

    location: str
    octets: int
    changed_ns: int


class LakeFiles(PyArrowFileIO):
    """pyarrow's file systems; local ones with fsync where the property `loomidi.durable` says so."""

    def new_output(self, location: str) -> PyArrowFile:
        """A file to write."""
        made = super().new_output(location)
        if self.properties.get(DURABLE) == "true" and is_local(location):
            return _Durable(made.location, made._path, made._filesystem)
        return made

    def sync(self, location: str) -> None:
        """What was written to a local file is on the disk."""
        if self.properties.get(DURABLE) == "true" and is_local(location):
            descriptor = os.open(local_path(location), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def system(self, location: str) -> tuple[pafs.FileSystem, str]:
        """pyarrow's file system and the path within it."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        return self.fs_by_scheme(scheme, netloc), path

    def below(self, location: str) -> Iterator[Found]:
        """All files under a location; none when it is not there."""
        system, path = self.system(location)
        root = location[: len(location) - len(path)] if location.endswith(path) else ""
        for info in system.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True)):
            if info.type == pafs.FileType.File:
                yield Found(root + info.path, info.size, info.mtime_ns or 0)

    def delete(self, location: Any) -> None:
        """One that is gone already is fine: two who commit to one table both tidy up behind it."""
        with contextlib.suppress(FileNotFoundError):
            super().delete(location)

    def remove(self, locations: Iterable[str]) -> int:
        """Delete; one that is gone already is not counted."""
        removed = 0
        for location in locations:
            try:
                super().delete(location)
            except FileNotFoundError:
                continue
            removed += 1
        return removed


class _Durable(PyArrowFile):
    """A local file whose stream syncs as it closes."""

    def create(self, overwrite: bool = False) -> Any:
        return _Synced(super().create(overwrite), local_path(self.location))


class _Synced:
    """An output stream; pyiceberg asks it for no more than this."""

    def __init__(self, stream: Any, path: str) -> None:
        self._stream, self._path = stream, path

    def write(self, data: bytes) -> int:
        return int(self._stream.write(data))

    def close(self) -> None:
        if self._stream.closed:
            return
        self._stream.close()
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def is_local(location: str) -> bool:
    """Whether it is a file of this machine."""
    return urlparse(location).scheme in ("", "file")


def local_path(location: str) -> str:
    """Its path."""
    return location.removeprefix("file://")


def as_location(warehouse: str, folder: Path) -> str:
    """A setting as a location: URLs as they are, folders as file URLs."""
    if "://" in warehouse:
        return warehouse.rstrip("/")
    return f"file://{Path(warehouse or folder / 'files').expanduser().absolute()}"
