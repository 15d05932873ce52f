"""What frames of ARP and neighbour discovery say, and which say nothing."""

import struct

import pytest

from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, ROUTER
from loomidi.loom.capture.neighbours import assembled, word_of
from loomidi.loom.capture.synthetic import advertisement, arp, ip_packet, link_address, udp

HOST, OTHER, HOST6, OTHER6 = "192.0.2.7", "192.0.2.1", "2001:db8::7", "fe80::1"
LINK, SENDER = "02:00:00:00:00:07", "02:00:00:00:00:01"


def discovery(kind: int, source: str, body: bytes, destination: str = "ff02::1", options: bytes = b"") -> bytes:
    frame = bytearray(ip_packet(source, destination, 58, bytes([kind, 0, 0, 0]) + body + options))
    frame[21] = 255
    return bytes(frame)


def option(kind: int, link: int = 7) -> bytes:
    return bytes([kind, 1]) + link_address(link)


def said(frame: bytes) -> tuple[str, str, str, str]:
    word = word_of(frame, 5)
    assert word is not None
    assert word.at_ns == 5
    return word.kind, word.address, word.link, word.about


TARGET6 = bytes(4) + bytes.fromhex("20010db8000000000000000000000007")
PROBE = arp(7, HOST, 0, OTHER, asks=True)
PROBE = PROBE[:28] + bytes(4) + PROBE[32:]


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (arp(7, HOST, 0, OTHER, asks=True), (ASK, HOST, LINK, OTHER)),
        (arp(7, HOST, 1, OTHER), (ANSWER, HOST, LINK, OTHER)),
        (arp(7, HOST, 1, "0.0.0.0"), (ANSWER, HOST, LINK, "")),  # to somebody who probed
        (arp(7, HOST, 0, "0.0.0.0"), (ANNOUNCE, HOST, LINK, "")),
        (arp(7, HOST), (ANNOUNCE, HOST, LINK, "")),
        (arp(7, HOST, asks=True), (ANNOUNCE, HOST, LINK, "")),
        (PROBE, (ASK, "", "", OTHER)),
        (advertisement(7, HOST6), (ANNOUNCE, HOST6, LINK, "")),
        (advertisement(7, HOST6, OTHER6), (ANSWER, HOST6, LINK, OTHER6)),
        (discovery(135, OTHER6, TARGET6, options=option(1)), (ASK, OTHER6, LINK, HOST6)),
        (discovery(135, OTHER6, TARGET6), (ASK, OTHER6, SENDER, HOST6)),
        (discovery(135, "::", TARGET6), (ASK, "", "", HOST6)),
        (discovery(134, OTHER6, bytes(12), options=option(5) + option(1)), (ROUTER, OTHER6, LINK, "")),
        (discovery(133, OTHER6, bytes(4), options=option(1)), (ASK, OTHER6, LINK, "")),
    ],
)
def test_a_frame_says(frame: bytes, told: tuple[str, str, str, str]) -> None:
    assert said(frame) == told


ARP = arp(7, HOST, 1, OTHER)
ADVERTISED = advertisement(7, HOST6)


@pytest.mark.parametrize(
    "frame",
    [
        ARP[:41],  # not whole
        ARP[:14] + b"\x00\x06" + ARP[16:],  # not of Ethernet
        ARP[:20] + b"\x00\x03" + ARP[22:],  # another operation
        ADVERTISED[:21] + b"\x40" + ADVERTISED[22:],  # has come by a router
        ADVERTISED[:55] + b"\x01" + ADVERTISED[56:],  # another code
        ADVERTISED[:70],
        discovery(133, "::", bytes(4)),
        discovery(129, OTHER6, bytes(20)),  # an echo
        udp(HOST, 1, OTHER, 2),
        b"",
    ],
)
def test_a_frame_says_nothing(frame: bytes) -> None:
    assert word_of(frame, 5) is None


def test_no_cut_and_no_flipped_octet_is_more_than_no_word() -> None:
    for whole in (ARP, ADVERTISED, discovery(134, OTHER6, bytes(12), options=option(5) + option(1))):
        for size in range(len(whole)):
            word_of(whole[:size], 5)
        for at in range(len(whole)):
            word_of(whole[:at] + b"\xff" + whole[at + 1 :], 5)


def test_a_tag_is_told_and_so_is_a_missing_override() -> None:
    tagged = word_of(ARP[:12] + b"\x81\x00\x20\x07" + ARP[12:], 5)
    assert tagged is not None
    assert (tagged.vlan, tagged.address) == (7, HOST)
    meek = word_of(advertisement(7, HOST6, flags=0x40), 5)
    assert meek is not None
    assert not meek.overrides


def test_the_filter_jumps_forward_and_ends_in_an_answer() -> None:
    program = assembled()
    assert {code for code, *_ in program[-2:]} == {0x06}
    for index, (code, yes, no, value) in enumerate(program[:-2]):
        longest = value if code == 0x05 else max(yes, no)
        assert index + 1 + longest < len(program)
        struct.pack("HBBI", code, yes, no, value)
