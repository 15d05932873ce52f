"""The chain of the loss balance: it adds up when everything is accounted, and names the place when something is not."""

import pyarrow as pa

from loomidi.contracts.schemas import COUNTERS
from loomidi.services.balancing import Chain, chain

SECOND = 1_000_000_000
GOOD = {
    ("capture", "", "eth0", "received", "packets"): 100,
    ("capture", "", "eth0", "accounted", "packets"): 97,
    ("capture", "", "eth0", "unparsed", "packets"): 3,
    ("export", "", "eth0", "exported", "packets"): 90,
    ("export", "", "eth0", "open", "packets"): 7,
    ("export", "", "eth0", "exported", "flows"): 12,
    ("publish", "flows", "", "offered", "rows"): 12,
    ("publish", "flows", "", "published", "rows"): 9,
    ("publish", "flows", "", "spooled", "rows"): 2,
    ("publish", "flows", "", "sampled_out", "rows"): 1,
}


def counters(values: dict[tuple[str, str, str, str, str], int], at_s: int = 5, epoch: int = 1) -> pa.Table:
    """Rows of one agent at one moment."""
    rows = [
        {
            "timestamp": at_s * SECOND,
            "node": "n1",
            "component": "agent",
            "epoch": epoch,
            "stage": stage,
            "stream": stream,
            "scope": scope,
            "name": name,
            "unit": unit,
            "value": value,
        }
        for (stage, stream, scope, name, unit), value in values.items()
    ]
    return pa.Table.from_pylist(rows, COUNTERS)


def judged(table: pa.Table, rows: int = 9, waiting: int | None = 0, since_s: int = 0) -> Chain:
    held = {("flows", "n1.agent", 1): rows}
    return chain(table, held, since_ns=since_s * SECOND, until_ns=100 * SECOND, waiting={"flows": waiting})


def broken(result: Chain) -> list[str]:
    return [equation.stage for equation in result.equations if not equation.holds]


def test_a_chain_without_loss_adds_up_at_every_step() -> None:
    result = judged(counters(GOOD))
    assert result.adds_up
    assert [equation.stage for equation in result.equations] == [
        "capture",
        "meter",
        "export",
        "publish",
        "commit",
        "bus",
    ]


def test_nothing_counted_does_not_add_up() -> None:
    assert not judged(counters({})).adds_up


def test_a_packet_that_the_kernel_saw_and_nobody_counted_is_missed_at_capture() -> None:
    assert broken(judged(counters(GOOD | {("capture", "", "eth0", "received", "packets"): 101}))) == ["capture"]


def test_a_flow_that_was_not_offered_is_missed_at_export() -> None:
    assert broken(judged(counters(GOOD | {("export", "", "eth0", "exported", "flows"): 13}))) == ["export"]


def test_a_row_that_left_the_publisher_uncounted_is_missed_at_publish() -> None:
    assert broken(judged(counters(GOOD | {("publish", "flows", "", "spooled", "rows"): 1}))) == ["publish"]


def test_a_published_row_that_is_not_in_the_table_is_missed_when_the_bus_holds_nothing() -> None:
    assert broken(judged(counters(GOOD), rows=8)) == ["bus"]
    assert judged(counters(GOOD), rows=8, waiting=1).adds_up


def test_a_row_that_lies_twice_in_the_table_is_seen() -> None:
    assert broken(judged(counters(GOOD), rows=10)) == ["commit", "bus"]


def test_a_bus_that_cannot_be_asked_is_told_not_guessed() -> None:
    result = judged(counters(GOOD), rows=8, waiting=None)
    assert result.equations[-1].note == "the bus cannot be asked: not checked"


def test_a_range_takes_the_change_within_it() -> None:
    later = {key: 2 * value for key, value in GOOD.items()}
    table = pa.concat_tables([counters(GOOD, 5), counters(later, 50)])
    result = judged(table, since_s=20)
    assert result.adds_up
    assert result.equations[0].total == ("received", 100)


def test_two_runs_of_a_component_are_added_not_mixed() -> None:
    table = pa.concat_tables([counters(GOOD, 5, epoch=1), counters(GOOD, 50, epoch=2)])
    held = {("flows", "n1.agent", epoch): 9 for epoch in (1, 2)}
    result = chain(table, held, until_ns=100 * SECOND, waiting={"flows": 0})
    assert result.adds_up
    assert [e.total for e in result.equations if e.stage == "commit"] == [("published", 18)]
