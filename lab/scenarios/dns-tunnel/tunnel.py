"""The near end of a DNS tunnel: data into question names, one question a block. tunnel.py SERVER RATE SECONDS SEED.

Runs in a pod; ends by itself. Prints how many blocks the far end acknowledged with the right checksum.
"""

import base64
import random
import socket
import struct
import sys
import time
import zlib

BLOCK = 140  # octets of data in one name: with base32 and the zone just under the 255 that a name may have


def question(number: int, data: bytes) -> bytes:
    """A TXT question for DATA.t.example.org with recursion desired."""
    text = base64.b32encode(data).rstrip(b"=").lower()
    parts = [text[at : at + 60] for at in range(0, len(text), 60)] + [b"t", b"example", b"org"]
    name = b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    return struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 16, 1)


def main() -> None:
    """Ask at a steady rate; wait a little for each answer."""
    server, rate, seconds, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.settimeout(1.0)
    channel.connect((server, 53))
    begin, acknowledged = time.monotonic(), 0
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        data = chance.randbytes(BLOCK)
        try:
            channel.send(question(number, data))
            acknowledged += b"%08x" % zlib.crc32(data) in channel.recv(4096)
        except OSError:
            continue
    print(f"blocks acknowledged {acknowledged}")


if __name__ == "__main__":
    main()
