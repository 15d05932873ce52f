"""The far end of a DNS tunnel: takes data out of question names, answers with a TXT record. nameserver.py ADDRESS.

Started in the outside namespace by `scenario.yaml`; ends with the scenario. The answer holds a checksum of the data, so
that the near end knows that it arrived whole, and some data for it.
"""

import base64
import socket
import struct
import sys
import zlib


def labels(message: bytes) -> tuple[list[bytes], int]:
    """The labels of the first question's name, and where the name ends."""
    found, at = [], 12
    while message[at]:
        found.append(message[at + 1 : at + 1 + message[at]])
        at += 1 + message[at]
    return found, at + 1


def answer(message: bytes) -> bytes:
    """The question again, with one TXT record."""
    names, end = labels(message)
    text = b"".join(names[:-3]).upper()
    data = base64.b32decode(text + b"=" * (-len(text) % 8))
    reply = b"%08x" % zlib.crc32(data) + base64.b64encode(bytes(reversed(data)))[:90]
    head = message[:2] + struct.pack("!HHHHH", 0x8580, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 0, len(reply) + 1) + bytes([len(reply)]) + reply
    return head + message[12 : end + 4] + record


def main() -> None:
    """Answer for ever; what is no question of ours is not answered."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    print("listening", flush=True)
    while True:
        message, sender = server.recvfrom(4096)
        try:
            server.sendto(answer(message), sender)
        except (ValueError, IndexError, struct.error):
            continue


if __name__ == "__main__":
    main()
