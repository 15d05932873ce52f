"""The C library `libloomidi.so`: found, loaded, its functions typed.

Called by `loom.capture` and `loom.flows`, the only home of its loading. In: nothing. Out: one `ctypes.CDLL` per
process, with the signatures of bpf/meter.h. Leaves their use to `meters` (captures, interfaces, drains) and `twin`.
"""

import ctypes
import functools
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks

FOLDER = Path(__file__).resolve().parent.parent / "native"

REASONS = (
    "accounted",
    "overflowed",
    "overflow_lost",
    "drop_tuple",
    "drop_host",
    "drop_cidr",
    "drop_rate",
    "unparsed_short",
    "unparsed_not_ip",
    "unparsed_vlan",
    "unparsed_ip",
    "unparsed_extensions",
    "unparsed_link",
    "passed",
)
"""`enum lm_reason` of wire.h, in order. Every packet ends in exactly one."""


class Count(ctypes.Structure):
    """`struct lm_count`."""

    _fields_ = [("packets", ctypes.c_uint64), ("octets", ctypes.c_uint64)]


class Settings(ctypes.Structure):
    """`struct lm_meter_settings`, with the `struct lm_settings` inside it."""

    _fields_ = [
        ("idle_ns", ctypes.c_uint64),
        ("active_ns", ctypes.c_uint64),
        ("linger_ns", ctypes.c_uint64),
        ("activity_ns", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("max_flows", ctypes.c_uint32),
        ("batch_rows", ctypes.c_uint32),
        ("inner", ctypes.c_uint32),
        ("ring", ctypes.c_uint32),
        ("unanswered_ns", ctypes.c_uint64),
        ("snap", ctypes.c_uint32),
        ("breathe_ms", ctypes.c_uint32),
    ]


class State(ctypes.Structure):
    """`struct lm_meter_state`."""

    _fields_ = [
        ("reasons", Count * len(REASONS)),
        ("bytes_read", ctypes.c_uint64),
        ("first_ns", ctypes.c_uint64),
        ("last_ns", ctypes.c_uint64),
        ("flows", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("twice", ctypes.c_uint64),
        ("live", ctypes.c_uint32),
        ("ended", ctypes.c_uint32),
        ("problems", ctypes.c_uint32),
        ("source", ctypes.c_uint32),
    ]


class RecentFrame(ctypes.Structure):
    """`struct lm_recent_frame`."""

    _fields_ = [
        ("at_ns", ctypes.c_uint64),
        ("wire", ctypes.c_uint32),
        ("captured", ctypes.c_uint16),
        ("link", ctypes.c_uint16),
        ("octets", ctypes.c_uint8 * 128),
    ]


class Stream(ctypes.Structure):
    """`struct ArrowArrayStream`: five pointers, filled by C and moved out by pyarrow."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("get_schema", "get_next", "get_last_error", "release", "private")]


_POINTER, _TEXT, _U32, _U64, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "lm_meter_open": (_POINTER, [_POINTER]),
    "lm_meter_close": (None, [_POINTER]),
    "lm_meter_add_capture": (_INT, [_POINTER, _TEXT]),
    "lm_meter_add_interface": (_INT, [_POINTER, _TEXT, _U64]),
    "lm_meter_stop": (None, [_POINTER]),
    "lm_meter_frame": (_INT, [_POINTER, _TEXT, _U32, _U32, _U64, _U32]),
    "lm_meter_absorb": (
        _INT,
        [_POINTER, _POINTER, _POINTER, _U32, _U32, ctypes.c_size_t, ctypes.c_int64],
    ),
    "lm_meter_absorb_records": (_INT, [_POINTER, _POINTER, _U32, ctypes.c_int64, _INT]),
    "lm_meter_tick": (None, [_POINTER, _U64]),
    "lm_meter_flush": (None, [_POINTER]),
    "lm_meter_stream": (_INT, [_POINTER, _INT, _POINTER]),
    "lm_meter_state": (None, [_POINTER, _POINTER]),
    "lm_meter_problem": (_TEXT, [_POINTER, _U32, _POINTER]),
    "lm_meter_sizes": (None, [_POINTER]),
    "lm_meter_keep_recent": (_INT, [_POINTER, _U32]),
    "lm_meter_recent": (_U32, [_POINTER, _POINTER, _U32]),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises EnvironmentLacks when it was not built or is of another version."""
    path = FOLDER / "libloomidi.so"
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise EnvironmentLacks(f"{path} cannot be loaded; in a checkout run `make native`") from error
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    sizes = (ctypes.c_uint32 * 4)()
    loaded.lm_meter_sizes(sizes)
    if sizes[2] != ctypes.sizeof(Settings) or sizes[3] != ctypes.sizeof(State):
        raise EnvironmentLacks(f"{path} is of another version than this package; in a checkout run `make native`")
    return loaded


def flow_sizes() -> tuple[int, int]:
    """Octets of `struct lm_key` and `struct lm_flow` as the library was built with."""
    sizes = (ctypes.c_uint32 * 4)()
    library().lm_meter_sizes(sizes)
    return int(sizes[0]), int(sizes[1])
