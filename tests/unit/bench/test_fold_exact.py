"""The comparer of `bench.fold_exact` sees both faults: cut without being stated, and stated without being cut."""

import socket
import struct
from collections import Counter, deque

import pytest

from bench.exact import talking
from bench.exact.comparing import Compared, Flow, Way, compare
from bench.exact.packets import way_of
from loomidi.contracts import Conversation

POD, PEER, OTHER, NODE = "10.0.1.2", "10.0.2.2", "10.0.2.3", "10.0.1.1"
ASKS, ASKED = Flow(POD, PEER, 8080, 6), Flow(PEER, POD, 7777, 17)
BESIDE, PROBE = Flow(PEER, OTHER, 8080, 6), Flow(NODE, POD, 8080, 6)
EVERY = (ASKS, ASKED, BESIDE, PROBE)
CUT, STAYS = tuple(Conversation(*flow) for flow in (ASKS, ASKED)), (Conversation(*PROBE),)


def packets(*flows: Flow) -> Counter[Way]:
    return Counter({(flow, towards): 9 for flow in flows for towards in (True, False)})


def compared(*after: Flow, cut: tuple[Conversation, ...] = CUT, stays: tuple[Conversation, ...] = STAYS) -> Compared:
    return compare(POD, packets(*EVERY), packets(*after), cut, stays)


def test_what_happens_as_it_was_stated_is_exact() -> None:
    found = compared(BESIDE, PROBE)
    assert found.exact
    assert (found.stated, found.cut, found.spared, found.others) == (2, 2, 1, 1)


def test_a_flow_of_others_that_is_cut_is_told() -> None:
    assert compared(PROBE).wrongly_cut == [str(BESIDE)]


def test_a_flow_of_the_pod_that_is_cut_and_was_not_stated_is_told() -> None:
    assert compared(BESIDE, PROBE, cut=CUT[:1]).wrongly_cut == [str(ASKED)]


def test_a_stated_flow_that_goes_on_is_told_even_by_one_packet_of_one_direction() -> None:
    after = packets(BESIDE, PROBE) | Counter({(ASKS, False): 1})
    found = compare(POD, packets(*EVERY), after, CUT, STAYS)
    assert (found.still_open, found.cut) == ([str(ASKS)], 1)


def test_a_flow_that_goes_on_in_one_direction_only_counts_as_cut() -> None:
    after = packets(PROBE) | Counter({(BESIDE, True): 5})
    assert compare(POD, packets(*EVERY), after, CUT, STAYS).wrongly_cut == [str(BESIDE)]


def test_what_is_stated_to_go_on_and_is_cut_is_told() -> None:
    assert compared(BESIDE).wrongly_cut == [str(PROBE)]


def test_a_new_flow_of_a_pod_that_is_cut_is_told() -> None:
    new = Flow(POD, OTHER, 53, 17)
    assert compared(BESIDE, PROBE, new).still_open == [str(new)]


def test_a_stated_flow_that_did_not_run_proves_nothing_and_is_told() -> None:
    assert compared(BESIDE, PROBE, cut=(*CUT, Conversation(POD, OTHER, 53, 17))).idle == [f"{POD} -> {OTHER}:53/17"]


def test_a_port_that_is_not_known_is_any() -> None:
    assert compared(BESIDE, PROBE, cut=(CUT[0], Conversation(PEER, POD, 0, 17))).exact


def test_an_answer_that_comes_late_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the kernel says so by ICMP: a flow that runs once, when the machine is busy."""
    late: deque[socket.socket] = deque()
    monkeypatch.setattr(talking, "PATIENCE_S", 0.01)
    monkeypatch.setattr(talking, "LATE", late)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            talking.ask_udp(*server.getsockname(), 0.0)
        _, who = server.recvfrom(64)
        server.connect(who)
        server.send(b"late")
        server.send(b"would be refused if ICMP had come")
    late.pop().close()


@pytest.mark.parametrize("client_port", [1434, 40000])  # the first is one that the kernel's NAT has chosen
@pytest.mark.parametrize("towards", [True, False])
def test_the_served_port_tells_the_server_whatever_port_the_client_has(client_port: int, towards: bool) -> None:
    ends = [(POD, client_port), (PEER, 7777)]
    (source, from_port), (target, to_port) = ends if towards else ends[::-1]
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    data = b"\x45" + bytes(8) + b"\x11" + bytes(2) + addresses + struct.pack("!HH", from_port, to_port)
    assert way_of(data, {7777, 8080}, lambda flow: flow) == (Flow(POD, PEER, 7777, 17), towards)
