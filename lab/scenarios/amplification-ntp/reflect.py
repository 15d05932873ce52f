"""Send NTP monlist answers of 440 octets from port 123 of many local addresses to one target; ends by itself.

Started in the outside namespace by `scenario.yaml`: reflect.py "TARGET [TARGET...]" REFLECTORS RATE SECONDS SEED.
"""

import random
import socket
import struct
import sys
import time


def answer(number: int) -> bytes:
    """A private-mode response (implementation 3, request 42) with six entries of 72 octets."""
    head = struct.pack("!BBBBHH", 0xD7, number & 0x7F, 3, 42, 6, 72)
    return head + bytes((number + n) & 0xFF for n in range(432))


def main() -> None:
    """Round robin over the reflectors at a steady rate."""
    target = sys.argv[1].split()[0]
    reflectors, rate, seconds, seed = (int(float(word)) for word in sys.argv[2:6])
    chance = random.Random(seed)
    senders = []
    for number in range(1, reflectors + 1):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.bind((f"198.51.100.{number}", 123))
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
