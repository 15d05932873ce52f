"""With and without a Fold: spans as long as it was in force, the rate before carried on, unknown where nobody knows."""

from typing import Any

import pytest

from loomidi.contracts import Replay
from loomidi.fold.comparing import ASSUMED, NotBegun, compared, spans
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import moment
from loomidi.insight.explain import comparison_told

S = 10**9
NOW_NS = 1_700_000_000 * S


def a_view(*steps: tuple[str, int], **status: Any) -> View:
    """A Fold with receipts of so many seconds ago."""
    receipts = [{"id": step, "step": step, "atTime": moment(NOW_NS - ago * S)} for step, ago in steps]
    metadata = {"namespace": "shop", "name": "a"}
    return View({"metadata": metadata, "spec": {}, "status": {"phase": "Released", "receipts": receipts} | status})


def measured(octets: int, flows: int = 1) -> Replay:
    return Replay(state="measured", since_ns=1, until_ns=2, rows=9, flows=flows, octets=octets)


ENDED = (("intent", 600), ("applied", 600), ("expired", 300))


def test_the_spans_are_as_long_as_it_was_in_force() -> None:
    found = spans(a_view(*ENDED), NOW_NS)
    assert {name: ((end - begin) // S, (NOW_NS - end) // S) for name, (begin, end) in found.items()} == {
        "before": (300, 600),
        "during": (300, 300),
        "after": (300, 0),
    }


def test_while_it_is_in_force_there_is_no_after_and_a_short_one_gets_a_minute() -> None:
    found = spans(a_view(("intent", 5), ("applied", 5)), NOW_NS)
    assert [*found] == ["before", "during"]
    assert found["before"][1] - found["before"][0] == 60 * S


def test_one_that_touched_nothing_is_told_as_such() -> None:
    with pytest.raises(NotBegun, match="never touched anything"):
        spans(a_view(), NOW_NS)


def test_without_it_the_rate_before_goes_on() -> None:
    view = a_view(*ENDED, probes=[{"name": "silent", "holds": True, "message": "nothing passed"}])
    times = spans(view, NOW_NS)
    found = compared(view, times, {"before": measured(9000, 30), "during": measured(100), "after": measured(0, 0)})
    assert (found.without_octets, found.without_flows, found.kept_off_octets) == (9000, 30, 8900)
    told = comparison_told(found.as_dict())
    assert ASSUMED in told[3]
    assert told[3].endswith("of it did not come")
    assert told[-1] == "probe silent held: nothing passed"


@pytest.mark.parametrize(
    ("before", "during", "part"),
    [
        (Replay(state="unknown", why="the lake is away"), measured(1), "without it: not known"),
        (measured(5), Replay(state="unknown", why="the lake is away"), "came all the same is not known"),
        (measured(5), measured(500), "more than that came"),
    ],
)
def test_what_is_not_known_or_did_not_help_is_told_as_such(before: Replay, during: Replay, part: str) -> None:
    view = a_view(("intent", 600), ("applied", 600))
    found = compared(view, spans(view, NOW_NS), {"before": before, "during": during})
    assert any(part in line for line in comparison_told(found.as_dict()))
