"""The system's libbpf.so.1 by ctypes: open an object, set sizes and constants, load, name its maps and programs.

Called by `capture.xdp.loading`. In: path of an object built by `bpf/Makefile`. Out: descriptors. libbpf's own log is
kept and given with errors, never printed. Leaves map operations and links to `bpf`.
"""

import ctypes
import ctypes.util
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks

_LOG_LINES = 400
_PRINTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_log: list[str] = []


def log() -> list[str]:
    """What libbpf said since the last object was opened, oldest first."""
    return list(_log)


def _say(_level: int, form: bytes, arguments: int | None) -> int:
    buffer = ctypes.create_string_buffer(4096)
    ctypes.CDLL(None).vsnprintf(buffer, ctypes.c_size_t(len(buffer)), form, ctypes.c_void_p(arguments))
    _log.extend(line for line in buffer.value.decode(errors="replace").splitlines() if line.strip())
    del _log[:-_LOG_LINES]
    return 0


_print = _PRINTER(_say)  # kept: libbpf calls it for as long as the process lives


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf 1.x. Raises EnvironmentLacks when the system has none."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise EnvironmentLacks("libbpf.so.1 is missing: install the package libbpf1") from error
    pointers = {
        "bpf_object__open_file": [ctypes.c_char_p, ctypes.c_void_p],
        "bpf_object__find_map_by_name": [ctypes.c_void_p, ctypes.c_char_p],
        "bpf_object__find_program_by_name": [ctypes.c_void_p, ctypes.c_char_p],
        "bpf_object__next_program": [ctypes.c_void_p, ctypes.c_void_p],
        "bpf_object__next_map": [ctypes.c_void_p, ctypes.c_void_p],
        "bpf_map__initial_value": [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)],
    }
    for name, arguments in pointers.items():
        function = getattr(lib, name)
        function.restype = ctypes.c_void_p
        function.argtypes = arguments
    lib.bpf_map__name.restype = ctypes.c_char_p
    lib.libbpf_set_print.argtypes = [_PRINTER]
    lib.libbpf_set_print.restype = ctypes.c_void_p
    lib.libbpf_set_print(_print)
    return lib


class Object:
    """A BPF object file: opened, adjusted, loaded. Owns nothing after `close` but what was duplicated."""

    def __init__(self, path: str) -> None:
        self._lib = library()
        _log.clear()
        if not Path(path).is_file():
            raise EnvironmentLacks(f"{path} is missing: build it with `make -C bpf`, or install the wheel")
        self._path = path
        self._object = ctypes.c_void_p(self._lib.bpf_object__open_file(path.encode(), None))
        if not self._object.value:
            raise EnvironmentLacks(f"{path} does not open as a BPF object: {self._last_words()}")

    def reuse(self, descriptors: Mapping[str, int]) -> None:
        """Take maps that are there already, by name, instead of making them."""
        for name, fd in descriptors.items():
            self._check(self._lib.bpf_map__reuse_fd(self._map(name), fd), f"map {name}")

    def only(self, program: str, flags: int = 0) -> None:
        """Load this program alone, with these program flags."""
        at = ctypes.c_void_p(self._lib.bpf_object__next_program(self._object, None))
        wanted = self._program(program)
        while at.value:
            chosen = at.value == wanted.value
            self._lib.bpf_program__set_autoload(at, ctypes.c_bool(chosen))
            if chosen and flags:
                self._lib.bpf_program__set_flags(at, ctypes.c_uint32(flags))
            at = ctypes.c_void_p(self._lib.bpf_object__next_program(self._object, at))

    def resize(self, entries: Mapping[str, int]) -> None:
        """Set max_entries of maps (octets of rings) before load."""
        for name, count in entries.items():
            self._check(self._lib.bpf_map__set_max_entries(self._map(name), ctypes.c_uint32(count)), f"size of {name}")

    def constants(self, value: bytes) -> None:
        """Overwrite the read-only data, which is one struct, before load."""
        at = ctypes.c_void_p(self._lib.bpf_object__next_map(self._object, None))
        while at.value:
            if self._lib.bpf_map__name(at).endswith(b".rodata"):
                size = ctypes.c_size_t()
                data = self._lib.bpf_map__initial_value(at, ctypes.byref(size))
                ctypes.memmove(data, value, min(size.value, len(value)))
                return
            at = ctypes.c_void_p(self._lib.bpf_object__next_map(self._object, at))

    def unpin(self, names: Sequence[str]) -> None:
        """Let maps that ask to be pinned by name be private to this load."""
        for name in names:
            self._check(self._lib.bpf_map__set_pin_path(self._map(name), None), f"pin path of {name}")

    def load(self) -> None:
        """Create maps, verify programs. Raises EnvironmentLacks with the kernel's or libbpf's last words."""
        self._check(self._lib.bpf_object__load(self._object), "load")

    def program(self, name: str) -> int:
        """A descriptor of a loaded program, the caller's to close."""
        return os.dup(self._lib.bpf_program__fd(self._program(name)))

    def maps(self, names: Sequence[str]) -> dict[str, int]:
        """Descriptors of maps, the caller's to close."""
        return {name: os.dup(self._lib.bpf_map__fd(self._map(name))) for name in names}

    def close(self) -> None:
        """Free libbpf's side. Programs and maps live on in duplicated descriptors."""
        if self._object.value:
            self._lib.bpf_object__close(self._object)
            self._object = ctypes.c_void_p()

    def __enter__(self) -> "Object":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _program(self, name: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._lib.bpf_object__find_program_by_name(self._object, name.encode()))

    def _map(self, name: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._lib.bpf_object__find_map_by_name(self._object, name.encode()))

    def _check(self, status: int, what: str) -> None:
        if status >= 0:
            return
        reason = os.strerror(-status)
        if -status in (1, 13) and os.geteuid() != 0:
            raise EnvironmentLacks(f"{what} of {Path(self._path).name}: {reason}; run as root")
        raise EnvironmentLacks(f"{what} of {Path(self._path).name}: {reason} ({self._last_words()})")

    def _last_words(self) -> str:
        telling = [line for line in _log if "libbpf:" in line or "processed" not in line]
        return telling[-1] if telling else "libbpf said nothing"
