"""Which networks a forged flood may be slowed by, and who is known."""

import ipaddress
import random
from collections import Counter

import pyarrow as pa

from loomidi.contracts import Evidence
from loomidi.contracts.schemas import FLOWS
from loomidi.services.fast.knowing import KnowingSettings, KnownPeers, alone, covering, senders
from tests.unit.ionic.making import a_finding


def forged(network: str, count: int = 4000) -> Counter[str]:
    inside = ipaddress.ip_network(network)
    chance = random.Random(1)
    return Counter(str(inside[chance.randrange(inside.num_addresses)]) for _ in range(count))


def networks(*texts: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in texts]


def flows(*rows: dict[str, object]) -> pa.RecordBatch:
    """A batch whose other columns are empty or zero."""
    columns = []
    for field in FLOWS:
        empty = "" if pa.types.is_string(field.type) else [] if pa.types.is_list(field.type) else 0
        columns.append(pa.array([row.get(field.name, empty) for row in rows], field.type))
    return pa.RecordBatch.from_arrays(columns, schema=FLOWS)


def conversation(source: str, **changes: object) -> dict[str, object]:
    whole = {
        "protocol_identifier": 6,
        "source_ip_address": source,
        "destination_ip_address": "198.51.100.10",
        "destination_transport_port": 80,
        "packet_delta_count": 6,
        "payload_octet_count": 100,
        "tcp_syn_total_count": 1,
        "tcp_fin_total_count": 1,
    }
    return whole | changes


def test_a_flood_from_one_network_is_that_network() -> None:
    assert covering(forged("198.18.0.0/15"), []) == [("198.18.0.0/15", 4000)]


def test_what_is_spared_lies_in_no_prefix() -> None:
    spared = networks("198.18.77.7/32", "198.19.128.0/20")
    found = [ipaddress.ip_network(text) for text, _ in covering(forged("198.18.0.0/15"), spared)]
    assert found
    assert not any(net.overlaps(other) for net in found for other in spared if net.version == other.version)


def test_prefixes_stay_within_their_bounds_and_number() -> None:
    settings = KnowingSettings(most=4, share=0.0, senders=1)
    found = covering(forged("0.0.0.0/0"), networks("192.0.2.7/32"), settings)
    lengths = [ipaddress.ip_network(text).prefixlen for text, _ in found]
    assert len(found) == 4
    assert all(settings.widest_v4 <= length <= settings.narrowest_v4 for length in lengths)


def test_a_passer_by_is_not_slowed_with_the_flood() -> None:
    packets = forged("198.18.0.0/15") + Counter({"203.0.113.9": 3, "2001:db8::1": 2})
    assert [text for text, _ in covering(packets, [])] == ["198.18.0.0/15"]


def test_both_families_are_covered() -> None:
    packets = forged("198.18.0.0/16") + forged("2001:db8::/36")
    assert {ipaddress.ip_network(text).version for text, _ in covering(packets, [])} == {4, 6}


def test_a_narrow_network_with_a_known_peer_is_left_alone() -> None:
    assert covering(forged("198.18.5.0/24"), networks("198.18.5.9/32")) == []


def test_nobody_is_known_before_three_whole_conversations() -> None:
    peers = KnownPeers()
    peers.learn(flows(*[conversation("192.0.2.11")] * 2))
    assert not peers.knows("192.0.2.11")
    peers.learn(flows(conversation("192.0.2.11")))
    assert peers.known() == ["192.0.2.11"]


def test_attempts_and_empty_talks_make_nobody_known() -> None:
    peers = KnownPeers()
    empty = conversation("203.0.113.1", payload_octet_count=0)
    attempt = conversation("203.0.113.2", tcp_fin_total_count=0)
    datagram = conversation("203.0.113.3", protocol_identifier=17)
    peers.learn(flows(*[empty, attempt, datagram] * 5))
    assert peers.known() == []


def test_what_is_remembered_is_bounded() -> None:
    peers = KnownPeers(KnowingSettings(peers=10))
    for host in range(50):
        peers.add(f"192.0.2.{host}")
    assert len(peers) == 10


def test_senders_are_those_without_an_end_at_that_service() -> None:
    silent = {"tcp_fin_total_count": 0, "packet_delta_count": 2}
    batch = flows(
        conversation("192.0.2.11"),
        conversation("198.18.0.1", **silent),
        conversation("198.18.0.1", **silent),
        conversation("198.18.0.2", destination_transport_port=443, **silent),
    )
    assert senders(batch, "198.51.100.10", 80) == {"198.18.0.1": 4}


def test_who_sends_a_flood_of_a_service_nearly_alone_is_named_and_a_bystander_is_not():
    told = a_finding(evidence=(Evidence("packets", 40, None, "packets", "seen"),))
    assert alone(Counter({"203.0.113.9": 60, "192.0.2.11": 2}), told) == "203.0.113.9"
    assert alone(Counter({"203.0.113.9": 60, "203.0.113.10": 60}), told) == ""
    assert alone(Counter({"192.0.2.11": 3}), told) == ""
    assert alone(Counter(), told) == ""
