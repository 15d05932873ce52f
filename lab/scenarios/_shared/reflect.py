"""Send answers that nobody asked for from a well-known port of many local addresses to one target; ends by itself.

Started in the outside namespace by both amplifications: reflect.py dns|ntp "TARGET [TARGET...]" REFLECTORS RATE SECONDS
SEED. DNS answers have about 1,200 octets, NTP monlist answers 440.
"""

import random
import socket
import struct
import sys
import time


def dns(number: int) -> bytes:
    """A response with one question and ten TXT records, as ANY requests to open resolvers bring."""
    name = b"\x07example\x03com\x00"
    head = struct.pack("!HHHHHH", number & 0xFFFF, 0x8180, 1, 10, 0, 0)
    text = bytes([100]) + bytes(65 + (number + n) % 26 for n in range(100))
    record = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 300, len(text)) + text
    return head + name + struct.pack("!HH", 255, 1) + record * 10


def ntp(number: int) -> bytes:
    """A private-mode response (implementation 3, request 42) with six entries of 72 octets."""
    head = struct.pack("!BBBBHH", 0xD7, number & 0x7F, 3, 42, 6, 72)
    return head + bytes((number + n) & 0xFF for n in range(432))


def main() -> None:
    """Round robin over the reflectors at a steady rate."""
    source_port, answer = {"dns": (53, dns), "ntp": (123, ntp)}[sys.argv[1]]
    target = sys.argv[2].split()[0]
    reflectors, rate, seconds, seed = (int(float(word)) for word in sys.argv[3:7])
    chance = random.Random(seed)
    senders = []
    for number in range(1, reflectors + 1):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.bind((f"198.51.100.{number}", source_port))
        senders.append(sender)
    port = chance.randrange(1024, 65536)
    begin = time.monotonic()
    for number in range(rate * seconds):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        try:
            senders[number % reflectors].sendto(answer(number), (target, port))
        except ConnectionRefusedError:  # the target says that nothing listens there; reflectors do not care
            continue


if __name__ == "__main__":
    main()
