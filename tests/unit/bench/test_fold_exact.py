"""The comparer of `bench.fold_exact` sees both faults: cut without being stated, and stated without being cut."""

from collections import Counter

from bench.exact.comparing import Compared, Flow, Way, compare
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
