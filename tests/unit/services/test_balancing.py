"""The chain of the loss balance: it adds up when everything is accounted, and names the place when something is not."""

import pyarrow as pa

from loomidi.contracts.schemas import COUNTERS
from loomidi.services.balancing import Chain, Elsewhere, chain

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
    ("publish", "flows", "", "spilled", "rows"): 2,
    ("publish", "flows", "", "spool", "rows"): 2,
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
    elsewhere = Elsewhere({("flows", "n1.agent", 1): rows}, {"flows": waiting}, {"flows": rows})
    return chain(table, elsewhere, since_ns=since_s * SECOND, until_ns=100 * SECOND)


def broken(result: Chain) -> list[str]:
    return [equation.stage for equation in result.equations if not equation.holds]


def test_a_chain_without_loss_adds_up_at_every_step() -> None:
    result = judged(counters(GOOD))
    assert result.adds_up
    stages = [equation.stage for equation in result.equations]
    assert stages == ["capture", "meter", "export", "publish", "spool", "commit", "bus", "table"]


LATER = GOOD | {
    ("publish", "flows", "", "found", "rows"): 2,
    ("publish", "flows", "", "recovered", "rows"): 2,
    ("publish", "flows", "", "spool", "rows"): 0,
    ("publish", "flows", "", "spilled", "rows"): 0,
    ("publish", "flows", "", "published", "rows"): 11,
}


def two_runs(later: dict[tuple[str, str, str, str, str], int], first: int = 11, since_s: int = 0) -> list[str]:
    """What is broken after a run that was killed with two rows in its spool, and the next; `first`: rows of the one."""
    table = pa.concat_tables([counters(GOOD, 5, epoch=1), counters(later, 50, epoch=2)])
    held = {("flows", "n1.agent", 1): first, ("flows", "n1.agent", 2): 11}
    elsewhere = Elsewhere(held, {"flows": 0}, {"flows": first + 11})
    return broken(chain(table, elsewhere, since_ns=since_s * SECOND, until_ns=100 * SECOND))


def test_nothing_counted_does_not_add_up() -> None:
    assert not judged(counters({})).adds_up


def test_a_packet_that_the_kernel_saw_and_nobody_counted_is_missed_at_capture() -> None:
    assert broken(judged(counters(GOOD | {("capture", "", "eth0", "received", "packets"): 101}))) == ["capture"]


def test_a_flow_that_was_not_offered_is_missed_at_export() -> None:
    assert broken(judged(counters(GOOD | {("export", "", "eth0", "exported", "flows"): 13}))) == ["export"]


def test_a_row_that_left_the_publisher_uncounted_is_missed_at_publish() -> None:
    assert broken(judged(counters(GOOD | {("publish", "flows", "", "spilled", "rows"): 1}))) == ["publish", "spool"]


def test_a_published_row_that_is_not_in_the_table_is_missed_when_the_bus_holds_nothing() -> None:
    assert broken(judged(counters(GOOD), rows=8)) == ["bus"]
    assert judged(counters(GOOD), rows=8, waiting=1).adds_up


def test_a_row_that_lies_twice_in_the_table_is_seen() -> None:
    elsewhere = Elsewhere({("flows", "n1.agent", 1): 9}, {"flows": 0}, {"flows": 10})
    assert broken(chain(counters(GOOD), elsewhere, until_ns=100 * SECOND)) == ["table"]


def test_what_a_killed_run_published_after_its_last_count_is_told_and_is_no_loss() -> None:
    result = judged(counters(GOOD), rows=11)
    assert result.adds_up
    assert next(e.note for e in result.equations if e.stage == "commit").startswith("and 2 untold")


def test_what_one_run_did_not_count_does_not_hide_what_another_lost() -> None:
    table = pa.concat_tables([counters(GOOD, 5, epoch=1), counters(GOOD, 50, epoch=2)])
    held = {("flows", "n1.agent", 1): 11, ("flows", "n1.agent", 2): 7}
    assert broken(chain(table, Elsewhere(held, {"flows": 0}, {}), until_ns=100 * SECOND)) == ["bus"]


def test_what_a_later_run_recovers_from_the_spool_belongs_to_the_run_that_spilled_it() -> None:
    assert two_runs(LATER) == []


def test_what_a_spool_took_after_the_last_count_of_a_killed_run_is_told_by_the_next() -> None:
    more = LATER | {("publish", "flows", "", "found", "rows"): 5, ("publish", "flows", "", "recovered", "rows"): 5}
    assert two_runs(more, first=14) == []
    assert two_runs(LATER | {("publish", "flows", "", "found", "rows"): 5}, first=14) == ["spool"]


def test_what_a_spool_gave_after_the_last_count_must_be_in_the_table() -> None:
    none = LATER | {("publish", "flows", "", "found", "rows"): 0, ("publish", "flows", "", "recovered", "rows"): 0}
    assert two_runs(none) == []
    assert two_runs(none, first=9) == ["bus"]


def test_a_range_that_begins_between_two_runs_asks_only_for_what_the_second_did() -> None:
    assert two_runs(LATER, since_s=20) == []


def test_a_bus_that_was_not_asked_is_told_not_guessed() -> None:
    result = judged(counters(GOOD), rows=8, waiting=None)
    assert [e.note for e in result.equations if e.stage == "bus"] == ["the bus was not asked"]


def test_a_range_takes_the_change_within_it() -> None:
    later = {key: 2 * value for key, value in GOOD.items()}
    table = pa.concat_tables([counters(GOOD, 5), counters(later, 50)])
    result = judged(table, rows=18, since_s=20)
    assert result.adds_up
    assert result.equations[0].total == ("received", 100)
