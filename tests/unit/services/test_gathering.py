"""A conversation that several links tell is counted once; the recent graph forgets."""

from typing import Any

import pyarrow as pa

from loomidi.contracts import Match
from loomidi.loom.flows.links import LinkId
from loomidi.services.gathering import Once, Recent
from tests.unit.origami.making import batch, flow

A, B, ETH = LinkId("n1", "vetha", 3), LinkId("n1", "vethb", 4), LinkId("n1", "eth0", 2)
SECOND = 10**9


def talk(**changes: Any) -> dict[str, Any]:
    given = {"protocol": 6, "source_port": 40000, "port": 80, "packets": 5, "back_packets": 4}
    return flow(**given | changes)


def rows(once: Once, *taken: tuple[LinkId, list[dict[str, Any]]], now_ns: int = 0) -> int:
    gathered = once.gather([(link, batch(flows)) for link, flows in taken], now_ns)
    return 0 if gathered is None else gathered.num_rows


def test_the_link_that_tells_a_conversation_first_has_it_for_good() -> None:
    once = Once()
    assert rows(once, (A, [talk()]), (B, [talk()])) == 1
    assert rows(once, (B, [talk()]), (ETH, [talk()])) == 0
    assert rows(once, (A, [talk()])) == 1
    assert once.again == 3


def test_who_began_makes_no_difference() -> None:
    once = Once()
    turned = talk(source="10.0.0.2", destination="10.0.0.1", source_port=80, port=40000)
    assert rows(once, (A, [talk()]), (B, [turned])) == 1


def test_two_links_that_see_one_direction_each_both_tell_theirs() -> None:
    once = Once()
    forth, back = talk(back_packets=0), talk(packets=0)
    assert rows(once, (A, [forth]), (B, [back])) == 2
    assert rows(once, (ETH, [talk()])) == 0


def test_other_conversations_are_others() -> None:
    once = Once()
    others = [talk(port=81), talk(source_port=40001), talk(protocol=17), talk(source="10.0.0.9")]
    assert rows(once, (A, [talk()]), (B, others)) == 5


def test_a_link_that_has_gone_is_followed_by_another_after_two_minutes() -> None:
    once = Once()
    assert rows(once, (A, [talk()]), now_ns=10**18) == 1
    assert rows(once, (B, [talk()]), now_ns=10**18 + 50 * SECOND) == 0
    assert rows(once, now_ns=10**18 + 200 * SECOND) == 0
    assert rows(once, now_ns=10**18 + 300 * SECOND) == 0
    assert rows(once, (B, [talk()]), now_ns=10**18 + 301 * SECOND) == 1


def test_the_graph_answers_for_one_to_two_windows() -> None:
    recent = Recent(60)
    match = Match(source="10.0.0.1")
    met = []
    for minute in range(5):
        seen: pa.RecordBatch = batch([talk(port=1000 + minute)])
        recent.absorb(seen, 10**18 + minute * 61 * SECOND)
        met.append(recent.touching(match).flows)
    assert met == [1, 2, 2, 2, 2]
