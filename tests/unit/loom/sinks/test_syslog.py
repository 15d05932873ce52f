"""Syslog messages are what RFC 5424 says, whatever the fields hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts import Severity, UsageError
from loomidi.loom.sinks import Letter, SyslogSettings, Transport
from loomidi.loom.sinks.syslog import SyslogSink, message

# RFC 5424, section 6, with the lengths that it gives
SYNTAX = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) ([!-~]{1,48})"
    rb" ([!-~]{1,128}) ([!-~]{1,32}) - (.*)"
)


@pytest.mark.parametrize(
    ("severity", "facility", "priority"),
    [(Severity.CRITICAL, 16, 130), (Severity.HIGH, 16, 131), (Severity.MEDIUM, 4, 36), (Severity.INFO, 0, 6)],
)
def test_priority_is_facility_and_severity(severity: Severity, facility: int, priority: int) -> None:
    told = message(Letter("a", "finding", b"{}", 10**18 + 1000, severity), facility, "node-1", 7)
    assert told == b"<%d>1 2001-09-09T01:46:40.000001Z node-1 loomidi 7 finding - {}" % priority


@given(st.text(), st.text(), st.integers(0, 2**63 - 1), st.sampled_from(Severity))
def test_every_letter_is_a_message(kind: str, host: str, at_ns: int, severity: Severity) -> None:
    found = SYNTAX.fullmatch(message(Letter("a", kind, b'{"a":1}', at_ns, severity), 23, host, 1))
    assert found is not None
    assert found[7] == b'{"a":1}'
    assert int(found[1]) <= 191


def test_a_facility_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="0 to 23"):
        SyslogSink(SyslogSettings("127.0.0.1", transport=Transport.UDP, facility=24), "node-1")
