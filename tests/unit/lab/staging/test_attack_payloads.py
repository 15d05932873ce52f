"""The senders speak the real wire formats, and the two ends of a protocol understand each other."""

import importlib.util
import struct
import threading
import time
import zlib
from types import ModuleType

import pytest

from loomidi_lab.staging.loading import SCENARIOS


def payload(scenario: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{scenario}_{name}", SCENARIOS / scenario / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dns_answers_are_responses_with_ten_records() -> None:
    message = payload("_shared", "reflect").dns(7)
    number, flags, questions, answers, *_ = struct.unpack("!HHHHHH", message[:12])
    assert (number, flags >> 15, questions, answers) == (7, 1, 1, 10)
    assert 1000 < len(message) < 1400


def test_ntp_answers_are_monlist_responses_of_440_octets() -> None:
    message = payload("_shared", "reflect").ntp(1)
    assert len(message) == 440
    assert message[0] & 0x80  # response
    assert message[0] & 7 == 7  # private mode
    assert message[3] == 42  # MON_GETLIST_1
    assert struct.unpack("!HH", message[4:8]) == (6, 72)


def test_names_of_the_tunnel_are_as_long_as_dns_allows_and_no_longer() -> None:
    tunnel = payload("dns-tunnel", "tunnel")
    message = tunnel.question(1, bytes(tunnel.BLOCK))
    name = message[12:-4]
    at = 0
    while name[at]:
        assert name[at] <= 63
        at += 1 + name[at]
    assert 200 < at + 1 <= 255


def test_the_far_end_of_the_tunnel_gets_the_data_whole() -> None:
    tunnel, far = payload("dns-tunnel", "tunnel"), payload("dns-tunnel", "nameserver")
    data = bytes(range(tunnel.BLOCK))
    reply = far.answer(tunnel.question(513, data))
    assert reply[:2] == struct.pack("!H", 513)
    assert b"%08x" % zlib.crc32(data) in reply
    assert struct.unpack("!H", reply[6:8]) == (1,)  # one answer


@pytest.mark.parametrize("message", [b"", bytes(12), b"\0" * 11 + b"\x01\x3fabc"])
def test_the_far_end_is_not_stopped_by_rubbish(message: bytes) -> None:
    with pytest.raises((ValueError, IndexError, struct.error)):
        payload("dns-tunnel", "nameserver").answer(message)


def test_miner_and_pool_agree_on_a_share() -> None:
    miner, pool = payload("crypto-miner", "miner"), payload("crypto-miner", "pool")
    with pool.Pool(("127.0.0.1", 0), pool.Miner) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        session = miner.Session(*server.server_address)
        session.ask("mining.subscribe", ["test"])
        assert session.ask("mining.authorize", ["a", "x"]) is True
        header, bits = session.job()
        nonce = miner.work(header, bits, time.monotonic() + 60)
        assert session.ask("mining.submit", ["a", "job", f"{nonce:08x}"]) is True
        session.job()
        assert session.ask("mining.submit", ["a", "job", "00000000"]) is False
        session._channel.close()
        server.shutdown()
