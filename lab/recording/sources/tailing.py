"""Logs of every container, from the files that the container runtime writes on each node (CRI format).

Called by the recorder. In: the nodes' log folders, `NAMESPACE_POD_UID/CONTAINER/RESTART.log`. Out: rows of the stream
`logs`; a line that the runtime has cut into parts (flag P) is put together again.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.following import LINE_MOST, Tail
from loomidi_lab.recording.sources.working import Workers
from loomidi_lab.recording.times import nanoseconds

LOOK_S = 0.5
SCAN_EVERY = 4  # looks: a new container is met within 2 s, before Kubernetes would remove its log


@dataclasses.dataclass(slots=True)
class _Container:
    """One log file and the line that is not complete yet, per stream."""

    where: tuple[str, str, str, str, str, int]  # node, namespace, pod, uid, container, restart
    tail: Tail
    partial: dict[str, str] = dataclasses.field(default_factory=dict)


class Logs:
    """All containers' logs, old lines left out: the stream drops what was written before the window."""

    def __init__(self, folders: Mapping[str, Path], stream: Stream, workers: Workers) -> None:
        """`folders`: node name to the folder of its pods' logs."""
        self._folders, self._stream, self._workers = dict(folders), stream, workers
        self._files: dict[Path, _Container] = {}

    def start(self) -> None:
        """What is in the files already is from before the window and not read."""
        self._scan(from_end=True)
        self._workers.spawn("logs", self._follow)

    def stop(self) -> None:
        """Read to the end. Call it when the thread has ended."""
        self._scan()
        for path in list(self._files):
            self._read(self._files[path])
            self._files.pop(path).tail.close()

    def _follow(self) -> None:
        looks = 0
        while not self._workers.pause(LOOK_S):
            looks += 1
            if looks % SCAN_EVERY == 0:
                self._scan()
            for path, container in list(self._files.items()):
                self._read(container)
                if looks % SCAN_EVERY == 0 and container.tail.gone:
                    self._read(container)
                    self._files.pop(path).tail.close()

    def _scan(self, *, from_end: bool = False) -> None:
        for node, folder in self._folders.items():
            for path in folder.glob("*/*/*.log"):
                if path not in self._files:
                    self._meet(node, path, from_end)

    def _meet(self, node: str, path: Path, from_end: bool) -> None:
        names = path.parent.parent.name.split("_")
        if len(names) != 3 or not path.stem.isdigit():
            self._stream.balance.note("files that are no container logs")
            return
        self._stream.balance.note("files followed")
        where = (node, *names, path.parent.name, int(path.stem))
        self._files[path] = _Container(where, Tail(path, from_end=from_end))  # type: ignore[arg-type]

    def _read(self, container: _Container) -> None:
        rows = []
        for line in container.tail.lines():
            row = self._row(container, line)
            if row is not None:
                rows.append(row)
        if rows:
            self._stream.add(rows)

    def _row(self, container: _Container, line: bytes) -> tuple[Any, ...] | None:
        """A row when the line is complete. `2026-11-25T21:36:19.123456789Z stdout F text`."""
        stamp, _, rest = line.decode("utf-8", "replace").partition(" ")
        stream, _, rest = rest.partition(" ")
        tag, _, text = rest.partition(" ")
        try:
            at_ns = nanoseconds(stamp)
        except InputError:
            self._stream.balance.note("lines that are not in CRI format")
            return None
        text = container.partial.pop(stream, "") + text
        if tag.startswith("P") and len(text) < LINE_MOST:
            container.partial[stream] = text
            return None
        return (at_ns, *container.where, stream, text)


def log_folders(nodes: Mapping[str, Path]) -> dict[str, Path]:
    """Node to log folder, of those that have one."""
    return {node: folder / "logs" for node, folder in nodes.items() if os.access(folder / "logs", os.R_OK)}
