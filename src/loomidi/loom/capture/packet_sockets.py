"""A packet socket on one link with a filter of its own, and what it had to leave out.

Called by `ears` and `neighbours`. In: the name of a link, a filter in classic BPF. Out: a socket that does not block,
and reads what comes in before XDP and what leaves behind tc. See packet(7), and socket(7) for the filter.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterable, Sequence

from loomidi.contracts.errors import EnvironmentLacks, Refused

_ALL = 0x0003  # ETH_P_ALL
_SOL_PACKET, _STATISTICS, _ATTACH, _ROOM_FORCED = 263, 6, 26, 33
Instruction = tuple[int, int, int, int]


def opened(
    link: str, program: Sequence[Instruction], *, kind: int, room: int, options: Iterable[tuple[int, int]] = ()
) -> socket.socket:
    """Bound last, so that nothing gets by its filter. `kind`: SOCK_RAW or SOCK_DGRAM; `room`: octets that wait in the
    kernel; `options`: level and name of what is to be on. Raises EnvironmentLacks without the right, Refused for a link
    that is not there, and whatever else the kernel says no to."""
    try:
        return _bound(link, program, kind, room, options)
    except PermissionError as error:
        raise EnvironmentLacks("listening to a link needs CAP_NET_RAW; grant it, or run with sudo") from error
    except OSError as error:
        raise Refused(f"link {link} cannot be listened to: {error.strerror}; ask again") from error


def _bound(
    link: str, program: Sequence[Instruction], kind: int, room: int, options: Iterable[tuple[int, int]]
) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, kind, 0)
    try:
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
        made.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HL", len(program), ctypes.addressof(code)))
        for level, name in options:
            made.setsockopt(level, name, 1)
        with contextlib.suppress(OSError):  # more room than others may have takes CAP_NET_ADMIN
            made.setsockopt(socket.SOL_SOCKET, _ROOM_FORCED, room)
        made.setblocking(False)
        made.bind((link, _ALL))
    except OSError:
        made.close()
        raise
    return made


def lost(each: socket.socket) -> int:
    """Packets that found the buffer full since the last time; reading it makes it 0."""
    return int(struct.unpack("II", each.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1])
