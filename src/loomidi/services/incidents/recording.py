"""Recording while watching: what a link's last frames were when something was found, put aside, kept at the end.

Called by `loomidi watch --incidents`. In: findings as they are told first, the last frames of every link. Out:
incidents (`keeping`), once watching is over: learning and replaying take seconds, and no packet waits for them. Of
several links that saw an attack the one that saw most of it is taken, so that no packet counts twice.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loomidi.contracts import Finding, InputError, Severity
from loomidi.ionic.decide.places import place
from loomidi.loom.capture.frames import Frame
from loomidi.services.incidents.excerpts import addresses_of, headers_of, packed, write_pcapng
from loomidi.services.incidents.keeping import Kept, keep

_MOST = 20  # findings of one watch whose packets are put aside
_SNAPLEN = 128

Recent = Callable[[], Mapping[Any, Sequence[Frame]]]  # by link


class Recorder:
    """Holds packets aside in a hidden folder beside the incidents; `close` removes it."""

    def __init__(self, folder: Path, recent: Recent) -> None:
        """Raises InputError for a folder that cannot be written."""
        self._folder, self._recent = folder, recent
        self._aside: list[tuple[Finding, Path]] = []
        self._beyond = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._room = Path(tempfile.mkdtemp(prefix=".recent-", dir=folder))
        except OSError as error:
            raise InputError(f"{folder}: nothing can be kept there: {error.strerror}; name another folder") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def found(self, finding: Finding) -> None:
        """Put aside what the link that saw most of it has seen lately, headers only."""
        if finding.severity is Severity.INFO:
            return
        if len(self._aside) >= _MOST:
            self._beyond += 1
            return
        named = {packed(text) for entity in finding.entities if (text := place(entity).address) and "/" not in text}
        links = self._recent().values()
        frames = max(links, key=lambda frames: _seen(frames, named), default=())
        path = self._room / f"{len(self._aside)}.pcapng"
        write_pcapng(path, [_cut(frame) for frame in frames], _SNAPLEN)
        self._aside.append((finding, path))

    def finish(self) -> list[Kept]:
        """Make incidents of all that was put aside. Raises InputError when one cannot be written."""
        kept = [one for finding, path in self._aside for one in keep([finding], [str(path)], self._folder)]
        beyond = Kept("", f"{self._beyond} more findings were left out: {_MOST} at most")
        return [*kept, beyond] if self._beyond else kept

    def close(self) -> None:
        """Remove what was put aside."""
        shutil.rmtree(self._room, ignore_errors=True)


def _seen(frames: Sequence[Frame], named: set[bytes]) -> int:
    ends = (addresses_of(frame.octets) for frame in frames)
    return sum(1 for both in ends if both and not named.isdisjoint(both))


def _cut(frame: Frame) -> Frame:
    return Frame(headers_of(frame.octets, _SNAPLEN), frame.wire_octets, frame.link, frame.at_ns)
