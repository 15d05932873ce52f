"""The bpf(2) system call: hot map operations, links, pins, test runs.

Called by the rest of `capture.xdp`. In: file descriptors and plain octets. Out: octets, or OSError with the kernel's
errno and the operation's name. Leaves opening and loading objects to `libbpf`.
"""

import ctypes
import dataclasses
import errno
import os
import platform
import struct
from collections.abc import Iterator

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY = 0, 1, 2, 3, 4
OBJ_PIN, OBJ_GET, PROG_TEST_RUN, PROG_FD_BY_ID, INFO_BY_FD, PROG_QUERY = 6, 7, 10, 13, 15, 16
MAP_READ_BATCH, MAP_TAKE_BATCH, MAP_UPDATE_BATCH = 24, 25, 26
LINK_CREATE, LINK_UPDATE, LINK_DETACH = 28, 29, 34

HASH = 1
ANY, NOEXIST, EXIST = 0, 1, 2
ATTACH_XDP, ATTACH_TCX_INGRESS, ATTACH_TCX_EGRESS = 37, 46, 47
XDP_FLAGS_SKB, XDP_FLAGS_DRV = 2, 4
BEFORE = 1 << 3  # of TCX: ahead of every program that is there
TEST_XDP_LIVE_FRAMES = 2

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361, "loongarch64": 280}
_ATTR_OCTETS = 152
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_NR = ctypes.c_long(_NUMBERS.get(platform.machine(), 321))


def call(command: int, attr: bytes, what: str) -> bytes:
    """One bpf(2) call. Returns the attribute union as the kernel left it; raises OSError named `what`."""
    buffer = ctypes.create_string_buffer(attr, _ATTR_OCTETS)
    result = _syscall(_NR, ctypes.c_long(command), buffer, ctypes.c_long(_ATTR_OCTETS))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return struct.pack("=q", result) + buffer.raw


def _fd(result: bytes) -> int:
    return int(struct.unpack_from("=q", result)[0])


def _at(buffer: object) -> int:
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


class Map:
    """A map by its descriptor, which this object owns."""

    def __init__(self, fd: int, key_octets: int, value_octets: int) -> None:
        self.fd = fd
        self.key_octets = key_octets
        self.value_octets = value_octets  # of one CPU, padded to 8 for per-CPU maps by the caller

    @classmethod
    def create(cls, name: str, key_octets: int, value_octets: int, entries: int) -> "Map":
        """A preallocated hash map."""
        attr = struct.pack("=7I16s", HASH, key_octets, value_octets, entries, 0, 0, 0, name.encode()[:15])
        return cls(_fd(call(MAP_CREATE, attr, f"map {name}")), key_octets, value_octets)

    def lookup(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value = ctypes.create_string_buffer(self.value_octets)
        try:
            self._element(MAP_LOOKUP, key, value, 0, "lookup")
        except FileNotFoundError:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Write one element. Raises OSError: E2BIG when the map is full."""
        self._element(MAP_UPDATE, key, ctypes.create_string_buffer(value, len(value)), flags, "update")

    def delete(self, key: bytes) -> bool:
        """False when there was none."""
        try:
            self._element(MAP_DELETE, key, None, 0, "delete")
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[bytes]:
        """All keys, each at least once while nobody deletes."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_octets)
        while True:
            try:
                self._element(MAP_NEXT_KEY, key, following, 0, "next key")
            except FileNotFoundError:
                return
            key = following.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values; what is deleted meanwhile is left out."""
        for key in list(self.keys()):
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def take(self, keys: ctypes.Array[ctypes.c_char], values: ctypes.Array[ctypes.c_char], room: int) -> Iterator[int]:
        """Move all elements out, up to `room` at a time, into the caller's buffers; yields how many lie there."""
        yield from self._batches(MAP_TAKE_BATCH, keys, values, room)

    def read(self, room: int = 4096) -> tuple[bytes, bytes]:
        """All keys and all values, each one after the other; `room` elements a system call. The map stays as it is."""
        keys, values = (ctypes.create_string_buffer(room * octets) for octets in (self.key_octets, self.value_octets))
        parts = [
            (keys.raw[: count * self.key_octets], values.raw[: count * self.value_octets])
            for count in self._batches(MAP_READ_BATCH, keys, values, room)
        ]
        return b"".join(key for key, _ in parts), b"".join(value for _, value in parts)

    def _batches(
        self, command: int, keys: ctypes.Array[ctypes.c_char], values: ctypes.Array[ctypes.c_char], room: int
    ) -> Iterator[int]:
        cursor = ctypes.create_string_buffer(8)
        first = True
        done = False
        while not done:
            start = 0 if first else _at(cursor)
            attr = struct.pack("=QQQQIIQQ", start, _at(cursor), _at(keys), _at(values), room, self.fd, 0, 0)
            count, done = self._batch(command, attr)
            first = False
            if count:
                yield count

    def update_batch(self, keys: bytes, values: bytes, count: int) -> None:
        """Write many elements in one call."""
        k, v = ctypes.create_string_buffer(keys, len(keys)), ctypes.create_string_buffer(values, len(values))
        call(MAP_UPDATE_BATCH, struct.pack("=QQQQIIQQ", 0, 0, _at(k), _at(v), count, self.fd, 0, 0), "update batch")

    def close(self) -> None:
        """Let go of the descriptor; the map lives while a program or a pin holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _element(self, command: int, key: bytes | None, value: object | None, flags: int, what: str) -> None:
        held = None if key is None else ctypes.create_string_buffer(key, len(key))
        attr = struct.pack(
            "=IIQQQ", self.fd, 0, _at(held) if held is not None else 0, _at(value) if value is not None else 0, flags
        )
        call(command, attr, what)

    def _batch(self, command: int, attr: bytes) -> tuple[int, bool]:
        """(elements moved, whether that was the end). The end is told by ENOENT, with the last elements."""
        buffer = ctypes.create_string_buffer(attr, _ATTR_OCTETS)
        result = _syscall(_NR, ctypes.c_long(command), buffer, ctypes.c_long(_ATTR_OCTETS))
        code = ctypes.get_errno() if result < 0 else 0
        if code not in (0, errno.ENOENT):
            raise OSError(code, f"batch: {os.strerror(code)}")
        return struct.unpack_from("=I", buffer.raw, 32)[0], code == errno.ENOENT


def pin(fd: int, path: str) -> None:
    """Keep the object alive under `path` of a bpffs."""
    name = ctypes.create_string_buffer(path.encode())
    call(OBJ_PIN, struct.pack("=QII", _at(name), fd, 0), f"pin {path}")


def pinned(path: str) -> int:
    """A new descriptor of what is pinned at `path`."""
    name = ctypes.create_string_buffer(path.encode())
    return _fd(call(OBJ_GET, struct.pack("=QII", _at(name), 0, 0), f"open {path}"))


def link(program: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """Attach by a link: it goes with its last descriptor or pin. Raises OSError: EBUSY when taken."""
    return _fd(call(LINK_CREATE, struct.pack("=IIIIIIQ", program, ifindex, attach_type, flags, 0, 0, 0), "attach"))


def relink(link_fd: int, program: int) -> None:
    """Another program in the place of the one that is attached, without a gap."""
    call(LINK_UPDATE, struct.pack("=IIII", link_fd, program, 0, 0), "replace")


def unlink(link_fd: int) -> None:
    """Detach now, whoever else holds the link."""
    call(LINK_DETACH, struct.pack("=I", link_fd), "detach")


def _info(fd: int, octets: int, what: str) -> bytes:
    info = ctypes.create_string_buffer(octets)
    call(INFO_BY_FD, struct.pack("=IIQ", fd, octets, _at(info)), what)
    return info.raw


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of a link."""

    id: int
    program: int  # id
    ifindex: int  # 0: the interface has gone


def link_info(link_fd: int) -> Link:
    """struct bpf_link_info: type, id, prog_id, then the union, whose first word is the ifindex of XDP and TCX."""
    _, identity, program, _, ifindex = struct.unpack_from("=IIIII", _info(link_fd, 64, "link info"))
    return Link(identity, program, ifindex)


def program_name(program_id: int) -> str:
    """Name of a loaded program, up to 15 characters; empty when it has gone."""
    try:
        fd = _fd(call(PROG_FD_BY_ID, struct.pack("=II", program_id, 0), "program"))
    except OSError:
        return ""
    try:
        return _info(fd, 232, "program info")[64:80].split(b"\0")[0].decode()
    finally:
        os.close(fd)


def map_info(fd: int) -> tuple[int, int, int, int]:
    """(type, key octets, value octets, max entries)."""
    kind, _, key, value, entries = struct.unpack_from("=IIIII", _info(fd, 88, "map info"))
    return kind, key, value, entries


def attached(ifindex: int, attach_type: int) -> list[int]:
    """Ids of the programs at a multi-program attach point (TCX). Raises OSError where the kernel has none."""
    ids = (ctypes.c_uint32 * 64)()
    attr = struct.pack("=IIIIQI", ifindex, attach_type, 0, 0, ctypes.addressof(ids), len(ids))
    result = call(PROG_QUERY, attr, "query")
    count = struct.unpack_from("=I", result, 8 + 24)[0]
    return list(ids[:count])


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What a test run gave back."""

    verdict: int  # the program's return code
    each_ns: int  # mean duration of one repetition


def try_out(program: int, data: bytes, context: bytes = b"", *, repeat: int = 1, flags: int = 0) -> Run:
    """BPF_PROG_TEST_RUN. Raises OSError; EINTR after a signal in a long run."""
    frame = ctypes.create_string_buffer(data, len(data))
    ctx = ctypes.create_string_buffer(context, len(context)) if context else None
    attr = struct.pack(
        "=IIIIQQIIIIQQIII",
        *(program, 0, len(data), 0, _at(frame), 0, repeat, 0),
        *(len(context), 0, _at(ctx) if ctx is not None else 0, 0, flags, 0, 0),
    )
    result = call(PROG_TEST_RUN, attr, "test run")
    verdict = struct.unpack_from("=I", result, 8 + 4)[0]
    duration = struct.unpack_from("=I", result, 8 + 36)[0]
    return Run(verdict, duration)
