"""A BPF ring buffer mapped into this process.

Called by `kernel`. In: the ring's descriptor and the one record layout it carries. Out: copies of the records. Leaves
the loop over the records to C (bpf/ring.c). One reader at a time: the caller holds a lock.
"""

import ctypes
import mmap
import select

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.loom.capture import native

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class Ring:
    """Reads records of one size; shorter and longer ones are skipped."""

    def __init__(self, fd: int, octets: int, record: type[ctypes.Structure], room: int) -> None:
        """`octets`: size of the ring; `room`: records that one read returns at most. Does not own `fd`."""
        self._octets = octets
        self._record = ctypes.sizeof(record)
        self._room = room
        self._buffer = ctypes.create_string_buffer(self._record * room)
        page = mmap.PAGESIZE
        self._parts = [
            (_map(fd, page, mmap.PROT_READ | mmap.PROT_WRITE, 0), page),
            (_map(fd, page + 2 * octets, mmap.PROT_READ, page), page + 2 * octets),
        ]
        self._poll = select.epoll()
        self._poll.register(fd, select.EPOLLIN)
        self._read = native.library().lm_ring_read
        self._read.restype = ctypes.c_int64
        self._read.argtypes = [
            *([ctypes.c_void_p] * 3),
            ctypes.c_uint64,
            ctypes.c_uint32,
            ctypes.c_void_p,
            ctypes.c_uint32,
        ]

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the data plane wakes us, or the time is up."""
        return bool(self._poll.poll(max(timeout_s, 0)))

    def read(self) -> tuple[ctypes.Array[ctypes.c_char], int]:
        """(buffer, records in it). The buffer is overwritten by the next read."""
        consumer, producer = self._parts[0][0], self._parts[1][0]
        count = self._read(
            consumer, producer, producer + mmap.PAGESIZE, self._octets, self._record, self._buffer, self._room
        )
        return self._buffer, int(count)

    def close(self) -> None:
        """Unmap."""
        for address, octets in self._parts:
            _libc.munmap(address, octets)
        self._parts = []
        self._poll.close()


def _map(fd: int, octets: int, protection: int, offset: int) -> int:
    address = _libc.mmap(None, octets, protection, mmap.MAP_SHARED, fd, offset)
    if address in (None, _FAILED):
        raise EnvironmentLacks("the ring buffer cannot be mapped; lower the ring size or free memory")
    return int(address)
