"""The counters of the anomaly detectors that are written in C (bpf/edges.h), as Python objects over numpy arrays.

Called by `features` and `online`. In: columns as contiguous arrays, settings as ctypes structures. Out: arrays. Memory
is had when one is opened and given back with the object. Loading of the library is left to `loom.capture.native`.
"""

import ctypes
import functools
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError, UsageError
from loomidi.loom.capture import native

F32 = npt.NDArray[np.float32]
U64 = npt.NDArray[np.uint64]
FEATURES = 24  # LM_EDGE_FEATURES


class EdgesSettings(ctypes.Structure):
    """`struct lm_edges_settings`."""

    _fields_ = [("horizon_ns", ctypes.c_uint64), ("max_pairs", ctypes.c_uint32), ("max_ends", ctypes.c_uint32)]


class EdgesCounts(ctypes.Structure):
    """`struct lm_edges_counts`."""

    _fields_ = [
        ("edges", ctypes.c_uint64),
        ("late", ctypes.c_uint64),
        ("forgotten_pairs", ctypes.c_uint64),
        ("forgotten_sources", ctypes.c_uint64),
        ("forgotten_destinations", ctypes.c_uint64),
        ("pairs", ctypes.c_uint32),
        ("sources", ctypes.c_uint32),
        ("destinations", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]


class SketchSettings(ctypes.Structure):
    """`struct lm_sketch_settings`."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("rows", ctypes.c_uint32),
        ("columns", ctypes.c_uint32),
        ("threshold", ctypes.c_float),
        ("factor", ctypes.c_float),
    ]


class TreesSettings(ctypes.Structure):
    """`struct lm_trees_settings`."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("trees", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("window", ctypes.c_uint32),
        ("dimensions", ctypes.c_uint32),
        ("enough", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]


COUNTS = tuple(field[0] for field in EdgesCounts._fields_ if field[0] != "pad")
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_OWN: dict[str, tuple[type | None, list[type]]] = {
    "lm_edges_feed": (None, [_POINTER, _SIZE, *[_POINTER] * 5]),
    "lm_edges_count": (None, [_POINTER, _POINTER]),
    "lm_sketch_score": (None, [_POINTER, _SIZE, *[_POINTER] * 4]),
    "lm_trees_score": (None, [_POINTER, _SIZE, *[_POINTER] * 3]),
    "lm_hash_texts": (None, [_SIZE, _POINTER, _POINTER, ctypes.c_uint64, _POINTER]),
}
_EACH: dict[str, tuple[type | None, list[type]]] = {
    "open": (_POINTER, [_POINTER]),
    "close": (None, [_POINTER]),
    "size": (_SIZE, [_POINTER]),
    "save": (None, [_POINTER, _POINTER]),
    "load": (_INT, [_POINTER, _POINTER, _SIZE]),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The library of the meter, with the signatures of bpf/edges.h."""
    loaded = native.library()
    each = {f"lm_{kind}_{verb}": of for kind in ("edges", "sketch", "trees") for verb, of in _EACH.items()}
    for name, (result, arguments) in (_OWN | each).items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Counter:
    """One of `edges`, `sketch`, `trees`: its state in C, saved and loaded as bytes."""

    def __init__(self, kind: str, settings: ctypes.Structure) -> None:
        """Raises UsageError when a setting is out of its bounds or there is no memory for it."""
        self._kind = kind
        self._library = library()
        self.at: int = self._call("open", ctypes.addressof(settings))
        if not self.at:
            told = ", ".join(f"{field[0]}={getattr(settings, field[0])}" for field in settings._fields_)
            raise UsageError(f"{kind} cannot be opened: out of bounds, or no memory for {told}")
        weakref.finalize(self, getattr(self._library, f"lm_{kind}_close"), self.at)

    def save(self) -> bytes:
        """Everything, so that one loaded from it goes on bit for bit."""
        state = np.empty(self._call("size", self.at), np.uint8)
        self._call("save", self.at, state.ctypes.data)
        return state.tobytes()

    def load(self, state: bytes) -> None:
        """Take over what `save` gave. Raises InputError when it is of other settings or another version."""
        kept = np.frombuffer(state, np.uint8)
        if self._call("load", self.at, kept.ctypes.data, len(state)):
            raise InputError(f"a snapshot of {self._kind} does not fit these settings; start anew without it")

    def run(self, verb: str, count: int, *columns: npt.NDArray[Any] | None) -> None:
        """Call `lm_KIND_VERB` on contiguous columns; None is a null pointer."""
        assert all(column is None or column.flags.c_contiguous for column in columns)
        self._call(verb, self.at, count, *(None if column is None else column.ctypes.data for column in columns))

    def _call(self, verb: str, *arguments: Any) -> Any:
        return getattr(self._library, f"lm_{self._kind}_{verb}")(*arguments)


def edges_counts(counter: Counter) -> dict[str, int]:
    """What the features keep and what they forgot."""
    counts = EdgesCounts()
    library().lm_edges_count(counter.at, ctypes.addressof(counts))
    return {name: int(getattr(counts, name)) for name in COUNTS}


def hashed_texts(offsets: npt.NDArray[np.int32], octets: npt.NDArray[np.uint8], seed: int) -> U64:
    """A seeded hash of each text of an Arrow utf8 column."""
    out = np.empty(len(offsets) - 1, np.uint64)
    library().lm_hash_texts(len(out), offsets.ctypes.data, octets.ctypes.data, seed, out.ctypes.data)
    return out
