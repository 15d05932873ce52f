"""The text report: readable at any width, no colour when piped, nothing from outside is obeyed."""

import dataclasses
import io

import pytest
from rich.console import Console

from loomidi.contracts.records import Severity
from loomidi.insight.report import Report
from loomidi.insight.report.records import BEYOND
from loomidi.insight.report.text import draw
from tests.unit.insight.specimens import FINDING, T0, report


def drawn(found: Report, width: int = 100, **options: object) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=str(options.pop("encoding", "utf-8")))
    draw(found, Console(file=file, width=width, highlight=False), **options)  # type: ignore[arg-type]
    file.seek(0)
    return file.read()


def many(count: int) -> Report:
    return report(findings=tuple(dataclasses.replace(FINDING, id=f"finding-{at:016x}") for at in range(count)))


def test_it_says_what_was_found_with_value_beside_limit() -> None:
    told = drawn(report())
    assert told.startswith("1 finding to look at  (1 medium)")
    assert "Port scan of a host  192.0.2.7 and 198.51.100.1" in told
    assert "ports           1,000     30  distinct ports that were tried" in told
    assert "2023-11-14 22:13:20.000 to 22:13:32.000 UTC (12 s)" in told
    assert "234.4 KiB (240,000 octets)" in told


def test_it_says_what_would_be_done_and_that_nothing_was() -> None:
    told = drawn(report())
    assert "proposed folds, nothing was applied" in told
    assert "RECONFIGURE_NETWORK  Drop the packets from 192.0.2.7" in told
    assert "guards allow; touches 1 peer" in told


def test_the_peak_is_that_of_the_busiest_bin_and_not_before_the_first_packet() -> None:
    assert "peak 2,410 packets/s at 22:13:26.200 UTC" in drawn(report())
    late = dataclasses.replace(report().flows, first_ns=T0 + 7 * 10**9)
    assert "packets/s at 22:13:27.000 UTC" in drawn(dataclasses.replace(report(), flows=late))


def test_the_balance_is_one_sentence() -> None:
    assert "6,988 packets read = 6,985 accounted + 3 unparsed not ip  adds up" in drawn(report())


def test_nothing_found_is_said_in_one_line() -> None:
    quiet = dataclasses.replace(report(findings=()), folds=())
    assert drawn(quiet).startswith("Nothing above info was found.")
    only_info = dataclasses.replace(FINDING, severity=Severity.INFO)
    assert drawn(report(findings=(only_info,))).startswith("Nothing above info was found.  (1 info)")


@pytest.mark.parametrize("width", [30, 50, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in drawn(report(), width, manifests=True).splitlines()) <= width


def test_a_pipe_gets_no_colour() -> None:
    assert "\x1b" not in drawn(report())


def test_a_terminal_without_unicode_gets_ascii_bars() -> None:
    assert drawn(report(), encoding="ascii").isascii()


def test_further_findings_get_one_line_each_and_the_rest_is_counted() -> None:
    told = drawn(many(100), in_full=2)
    assert told.count("what was seen") == 2
    assert told.count("medium  Port scan of a host") == 40
    assert "and 58 findings more" in told


def test_one_fold_that_answers_many_findings_is_shown_once() -> None:
    found = report()
    assert "answers 3 findings" in drawn(dataclasses.replace(found, folds=found.folds * 3))


def test_manifests_are_printed_on_demand() -> None:
    assert "kind: NetworkPolicy" not in drawn(report())
    assert "kind: NetworkPolicy" in drawn(report(), manifests=True)


def test_hostile_names_are_neither_markup_nor_escape_codes() -> None:
    evil = dataclasses.replace(FINDING, entities=("host/[red]x[/red]\x1b]0;title\x07",))
    told = drawn(report(findings=(evil,), path="[bold]a\x1b[2J.pcap"))
    assert "[red]x[/red]?]0;title?" in told
    assert "[bold]a?[2J.pcap" in told
    assert "\x1b" not in told


def test_every_bound_that_was_met_is_told() -> None:
    met = dataclasses.replace(report(), beyond=dict.fromkeys(BEYOND, 7))
    assert all(f"7 {told}" in drawn(met, 200) for told in BEYOND.values())
    assert not any(told in drawn(report(), 200) for told in BEYOND.values())


def test_an_unread_rest_is_named() -> None:
    told = drawn(report(problems=("ends inside a packet",)))
    assert "1 capture could not be read to the end; what was readable is above" in told


def test_a_capture_without_flows_is_told_too() -> None:
    empty = dataclasses.replace(report(findings=()), folds=(), links=(), talkers=(), entities=(), protocols={})
    empty = dataclasses.replace(empty, flows=type(empty.flows)())
    assert "flows       0 of 0 packets" in drawn(empty)
