"""Numbers, times and names as people read them."""

import pytest

from loomidi.insight import wording


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_897_410, "12.3 MiB"),
        (2**60, "1.0 EiB"),
        (2**80, "1048576.0 EiB"),
    ],
)
def test_octets_are_humanised_in_binary_units(number: int, text: str) -> None:
    assert wording.octets(number) == text


def test_the_exact_figure_stands_beside_the_humanised_one() -> None:
    assert wording.octets_exactly(2048) == "2.0 KiB (2,048 octets)"
    assert wording.octets_exactly(1) == "1 octet"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0 us"),
        (0.0000015, "2 us"),
        (0.0235, "23.5 ms"),
        (3.21, "3.21 s"),
        (59.7, "1 min"),
        (245, "4 min 05 s"),
        (300, "5 min"),
        (3720, "1 h 02 min"),
        (3600 * 24 * 3 + 3600 * 4, "3 d 04 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(duration: float, text: str) -> None:
    assert wording.seconds(duration) == text


def test_times_are_utc_and_those_outside_the_calendar_are_still_told() -> None:
    assert wording.moment(1_700_000_000_123_456_789) == "2023-11-14 22:13:20.123456 UTC"
    assert wording.moment(-1_500_000_000) == "-1.500000 s since 1970"
    assert wording.moment(10**21).endswith("since 1970")
    assert wording.clock(1_700_000_000_123_456_789) == "22:13:20.123"


def test_a_period_tells_the_second_date_only_when_it_is_another() -> None:
    first, day = 1_700_000_000_000_000_000, 86_400_000_000_000
    assert wording.period(first, first + 12_000_000_000) == "2023-11-14 22:13:20.000 to 22:13:32.000 UTC (12 s)"
    assert wording.period(first, first + day) == "2023-11-14 22:13:20.000 to 2023-11-15 22:13:20.000 UTC (1 d)"
    assert wording.period(-5_000_000_000, first).startswith("-5.000000 s since 1970 to 2023")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (5000, "packets/s", "5,000 packets/s"),
        (0.935, "", "0.935"),
        (3072, "octets", "3.0 KiB"),
        ("yes", "", "yes"),
        (2.5, "s", "2.5 s"),
    ],
)
def test_values_carry_their_unit(value: float | str, unit: str, text: str) -> None:
    assert wording.value(value, unit) == text


def test_a_long_listing_says_how_many_more_there_are() -> None:
    assert wording.listing(["a"]) == "a"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert wording.listing(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert wording.listing([]) == ""


def test_nothing_that_a_terminal_would_obey_comes_through() -> None:
    assert wording.printable("a\x1b[31mb\x07\u202e\udcff") == "a?[31mb???"
    assert wording.name("host/\x1b]0;x\x07") == "?]0;x?"
