"""The slow lane's own parts: limits, order, settings. The whole lane is tests/integration/analyze."""

import dataclasses

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.contracts.records import Severity
from loomidi.services.analyzing import AnalyzeSettings, Found
from tests.unit.insight.specimens import FINDING, T0


def findings(count: int, severity: Severity = Severity.LOW) -> list[object]:
    return [
        dataclasses.replace(FINDING, id=f"finding-{severity}-{at:05}", severity=severity, first_ns=T0 + at)
        for at in range(count)
    ]


def test_the_worst_are_kept_and_the_rest_is_counted() -> None:
    found = Found(10)
    for _ in range(7):
        found.add(findings(100))
    found.add(findings(3, Severity.CRITICAL))
    kept = found.worst_first()
    assert [finding.severity for finding in kept[:4]] == [Severity.CRITICAL] * 3 + [Severity.LOW]
    assert (len(kept), found.left_out) == (10, 693)


def test_no_more_than_twice_the_limit_is_ever_held() -> None:
    found = Found(10)
    for _ in range(50):
        found.add(findings(3))
        assert len(found._kept) <= 20 + 3


def test_equal_findings_come_in_order_of_time() -> None:
    found = Found(10)
    found.add(findings(5)[::-1])
    assert [finding.first_ns for finding in found.worst_first()] == [T0 + at for at in range(5)]


@pytest.mark.parametrize("prefix", ["10.0.0.0/33", "example.org", "", "10.0.0.1/24/7"])
def test_a_bad_protected_entry_is_refused_before_anything_is_read(prefix: str) -> None:
    with pytest.raises(UsageError, match="is no address or CIDR; write it like"):
        AnalyzeSettings(protected=(prefix,))
