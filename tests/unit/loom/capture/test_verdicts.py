"""What a person writes becomes the octets that the data plane compares, and comes back as written."""

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.capture import layouts, verdicts

EXACT = Match("192.0.2.7", "198.51.100.1", 40_000, 80, 6)


@pytest.mark.parametrize(
    ("match", "table"),
    [
        (Match("192.0.2.7"), layouts.HOSTS),
        (Match("2001:db8::7"), layouts.HOSTS),
        (Match("192.0.2.0/24"), layouts.CIDRS),
        (Match("2001:db8::/32"), layouts.CIDRS),
        (EXACT, layouts.TUPLES),
        (Match("2001:db8::7", "2001:db8::1", 0, 0, 58), layouts.TUPLES),
    ],
)
def test_a_match_goes_to_its_table_and_comes_back(match: Match, table: str) -> None:
    placed, key = verdicts.place(match)
    assert placed == table
    assert verdicts.match_of(placed, key) == match


@pytest.mark.parametrize(("text", "same"), [("192.0.2.7/32", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7")])
def test_one_address_has_one_key(text: str, same: str) -> None:
    assert verdicts.place(Match(text)) == verdicts.place(Match(same))


def test_host_bits_of_a_prefix_are_ignored() -> None:
    assert verdicts.place(Match("192.0.2.7/24")) == verdicts.place(Match("192.0.2.0/24"))


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match("nonsense"),
        Match("192.0.2.7", destination_port=80),
        Match("192.0.2.0/24", "198.51.100.1", 1, 2, 6),
    ],
)
def test_what_no_table_holds_is_refused(match: Match) -> None:
    with pytest.raises(UsageError):
        verdicts.place(match)


@pytest.mark.parametrize(
    "deny",
    [
        Deny(Match("192.0.2.7"), "drop", 0),
        Deny(Match("192.0.2.7"), "drop", float("inf")),
        Deny(Match("192.0.2.7"), "forget", 60),
        Deny(Match("192.0.2.7"), "rate", 60),
    ],
)
def test_an_entry_without_an_end_a_rate_or_a_known_action_is_refused(deny: Deny) -> None:
    with pytest.raises(UsageError):
        verdicts.verdict_of(deny, layouts.HOSTS, b"", 0, 1)


@pytest.mark.parametrize("distinct", [1, 5, 20, 100, 400])
def test_a_threshold_of_distinct_values_is_met_by_about_that_many(distinct: int) -> None:
    assert verdicts.distinct_of(verdicts.sketch_bits(distinct)) == pytest.approx(distinct, rel=0.05, abs=1)


def test_a_prefix_key_and_its_text_are_inverse() -> None:
    for text in ("0.0.0.0/0", "10.0.0.0/8", "::/0", "2001:db8::/33"):
        assert verdicts.prefix_text(verdicts.prefix_key(verdicts.network_of(text))) == text
