"""Edges as a detector sees them, and what every detector can do.

Called by `norms`, `sketches`, `trees`, `scoring` and the bench. In: features of edges and the keys of their ends. Out:
`Seen` and the Protocol `Detector`. What a score means is left to `scoring`: a detector only says that one edge is
stranger than another.
"""

import dataclasses
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """Edges in order of time, each a row of all four."""

    times_ns: I64  # since the epoch
    sources: U64  # `features.hashes` of the names
    destinations: U64
    values: F32  # (rows, features), as `features.matrix` gives them

    def __len__(self) -> int:
        return len(self.times_ns)

    def part(self, start: int, stop: int) -> "Seen":
        """Rows start..stop-1, as views."""
        at = slice(start, stop)
        return Seen(self.times_ns[at], self.sources[at], self.destinations[at], self.values[at])


class Detector(Protocol):
    """One model of what is usual. Scoring goes on bit for bit however a stream is cut, and after `restore`."""

    def fit(self, seen: Seen) -> None:
        """Learn from the start, from edges that are held to be usual; some of them may not be."""

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """How strange each edge is, high is strange; then learn those of the mask. None: as the detector is made to."""

    def snapshot(self) -> bytes:
        """Everything that is needed to go on."""

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same settings. Raises InputError where it does not fit."""


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as bytes, without any Python object in them."""
    sink = BytesIO()
    np.savez(sink, allow_pickle=False, **dict(arrays))
    return sink.getvalue()


def unpacked(state: bytes, like: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """What `packed` gave, where names, types and all but the first lengths are as in `like`."""
    try:
        with np.load(BytesIO(state), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError("a snapshot of a detector is damaged; start anew without it") from error
    fits = arrays.keys() == like.keys() and all(
        arrays[name].dtype == one.dtype and arrays[name].shape[1:] == one.shape[1:] for name, one in like.items()
    )
    if not fits:
        raise InputError("a snapshot of a detector does not fit these settings; start anew without it")
    return arrays
