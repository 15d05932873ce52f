"""Trace context and the OTLP form of spans."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi_lab.shop.app import tracing
from loomidi_lab.shop.app.tracing import CLIENT, SERVER, Tracer, parse_traceparent

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def tracer(buffer: int = 10, ratio: float = 1.0) -> tuple[Tracer, list[None]]:
    dropped: list[None] = []
    return Tracer(ratio, buffer, lambda: dropped.append(None)), dropped


class TestTraceparent:
    def test_a_good_header(self) -> None:
        assert parse_traceparent(GOOD) == (GOOD[3:35], GOOD[36:52], True)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "00",
            GOOD.upper(),
            GOOD[:-1],
            GOOD + "-1",
            "ff" + GOOD[2:],
            GOOD.replace(GOOD[3:35], "0" * 32),
            GOOD[:36] + "0" * 16 + "-01",
        ],
    )
    def test_a_bad_one_is_none(self, header: str) -> None:
        assert parse_traceparent(header) is None

    def test_a_later_version_may_have_more(self) -> None:
        assert parse_traceparent("01" + GOOD[2:] + "-more") is not None

    @settings(deadline=None)
    @given(st.text(max_size=80))
    def test_no_text_raises(self, text: str) -> None:
        parse_traceparent(text)


class TestSpans:
    def test_what_a_span_says_makes_a_child(self) -> None:
        made, _ = tracer()
        with made.span("a", CLIENT) as above:
            pass
        with made.span("b", SERVER, above.traceparent()) as below:
            pass
        assert (below.trace_id, below.parent_id) == (above.trace_id, above.span_id)

    def test_a_span_within_another_is_its_child(self) -> None:
        made, _ = tracer()
        with made.span("a", SERVER) as above, made.span("b", CLIENT) as below:
            assert tracing.current() is below
        assert below.parent_id == above.span_id
        assert tracing.current() is None

    def test_an_exception_marks_it_and_goes_on(self) -> None:
        made, _ = tracer()
        with pytest.raises(ValueError, match="no"), made.span("a", SERVER):
            raise ValueError("no")
        assert made.take(1)[0].failed

    def test_a_full_buffer_drops_the_oldest_and_counts(self) -> None:
        made, dropped = tracer(buffer=3)
        for name in "abcde":
            with made.span(name, SERVER):
                pass
        assert [span.name for span in made.take(9)] == ["c", "d", "e"]
        assert len(dropped) == 2

    def test_a_failed_export_comes_back_in_order(self) -> None:
        made, dropped = tracer(buffer=3)
        for name in "abc":
            with made.span(name, SERVER):
                pass
        taken = made.take(2)
        with made.span("d", SERVER):
            pass
        made.put_back(taken)
        assert [span.name for span in made.take(9)] == ["b", "c", "d"]
        assert len(dropped) == 1

    def test_a_trace_that_is_not_sampled_is_not_kept_but_passed_on(self) -> None:
        made, _ = tracer(ratio=0.0)
        with made.span("a", SERVER) as span:
            assert span.traceparent().endswith("-00")
        assert made.take(1) == []


class TestOtlp:
    def spans(self) -> list[dict[str, Any]]:
        made, _ = tracer()
        with made.span("a", SERVER) as above, made.span("b", CLIENT) as below:
            above.attributes.update({"text": "x", "whole": 5, "part": 0.5, "flag": True})
            below.fail("it broke")
        document = tracing.otlp({"service.name": "catalog"}, made.take(9))
        assert document["resourceSpans"][0]["resource"]["attributes"][0]["value"] == {"stringValue": "catalog"}
        found: list[dict[str, Any]] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
        return found

    def test_ids_are_hex_and_times_are_strings(self) -> None:
        for span in self.spans():
            assert re.fullmatch("[0-9a-f]{32}", span["traceId"])
            assert re.fullmatch("[0-9a-f]{16}", span["spanId"])
            assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 0

    def test_a_root_has_no_parent_and_a_child_has(self) -> None:
        below, above = self.spans()
        assert "parentSpanId" not in above
        assert below["parentSpanId"] == above["spanId"]

    def test_kinds_and_status_are_numbers(self) -> None:
        below, above = self.spans()
        assert (below["kind"], above["kind"]) == (3, 2)
        assert below["status"] == {"code": 2, "message": "it broke"}
        assert "status" not in above

    def test_values_by_type(self) -> None:
        values = {a["key"]: a["value"] for a in self.spans()[1]["attributes"]}
        assert values == {
            "text": {"stringValue": "x"},
            "whole": {"intValue": "5"},
            "part": {"doubleValue": 0.5},
            "flag": {"boolValue": True},
        }
