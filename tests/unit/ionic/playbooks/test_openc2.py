"""OpenC2 in and out: what a packet filter is told becomes a plan, what it cannot do is refused with its status."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi.contracts import FoldKind, Match, Mode
from loomidi.ionic.errors import BadCommand
from loomidi.ionic.playbooks import Consumer, openc2
from tests.unit.ionic.making import NOW_NS, SOURCE, a_fold
from tests.unit.ionic.playbooks.playing import Table, a_table, action, book, key

DENY = {"action": "deny", "target": {"ipv4_net": SOURCE}, "args": {"duration": 60_000}}
TUPLE = {"protocol": "tcp", "src_addr": SOURCE, "src_port": 4000, "dst_addr": "10.0.0.2", "dst_port": 80}


def consumer(table: Table) -> Consumer:
    return Consumer(table.hands, clock=table.clock)


def answered(command: Any, mode: Mode = Mode.GUARDED, **more: Any) -> dict[str, Any]:
    response = consumer(a_table(mode, **more)).answer(command)
    assert response is not None
    return response


def with_args(**args: Any) -> dict[str, Any]:
    return {**DENY, "args": args}


def test_a_deny_is_a_plan_in_force_and_its_rule_number_takes_it_back() -> None:
    table = a_table()
    response = consumer(table).answer(DENY)
    assert response is not None
    assert (response["status"], table.blocked()) == (200, [("drop", SOURCE)])
    delete = {"action": "delete", "target": {"slpf:rule_number": response["results"]["slpf"]["rule_number"]}}
    assert consumer(table).answer(delete) == {"status": 200}
    assert table.blocked() == []
    again = consumer(table).answer(delete)
    assert again is not None
    assert again["status"] == 500


def test_an_allow_takes_back_our_own_deny_and_nothing_else() -> None:
    table = a_table()
    allow = {"action": "allow", "target": {"ipv4_net": f"{SOURCE}/32"}}
    assert consumer(table).answer(allow)["status"] == 501  # type: ignore[index]
    consumer(table).answer(DENY)
    assert consumer(table).answer(allow) == {"status": 200}
    assert table.blocked() == []


def test_a_deny_without_an_end_ends_and_says_so() -> None:
    response = answered({"action": "deny", "target": {"ipv4_net": SOURCE}})
    assert "it ends by itself after 300 s" in response["status_text"]


def test_shadow_touches_nothing_and_is_not_200() -> None:
    table = a_table(Mode.SHADOW)
    response = consumer(table).answer(DENY)
    assert response is not None
    assert (response["status"], table.blocked()) == (102, [])


def test_the_guards_are_403_and_a_missing_person_is_401() -> None:
    assert answered(DENY, protected=(SOURCE,))["status"] == 403
    assert answered(DENY, Mode.SUGGEST)["status"] == 401


def test_features_are_told_and_an_empty_list_only_asks_whether_anybody_is_there() -> None:
    response = answered({"action": "query", "target": {"features": ["versions", "profiles", "pairs", "rate_limit"]}})
    assert response["results"]["profiles"] == ["slpf"]
    assert response["results"]["pairs"]["delete"] == ["slpf:rule_number"]
    assert answered({"action": "query", "target": {"features": []}}) == {"status": 200}


def test_a_message_is_answered_by_a_message_and_none_by_nothing() -> None:
    message = {"headers": {"request_id": "r1", "from": "soc"}, "body": {"openc2": {"request": DENY}}}
    response = answered(message)
    assert response["headers"]["request_id"] == "r1"
    assert response["headers"]["to"] == ["soc"]
    assert response["body"]["openc2"]["response"]["status"] == 200
    assert consumer(a_table()).answer(with_args(response_requested="none")) is None
    assert answered(with_args(response_requested="ack")) == {"status": 102}


NOT_DONE: list[tuple[Any, int, str]] = [
    ({"action": "update", "target": {"file": {"name": "rules"}}}, 501, "never as a file"),
    ({"action": "scan", "target": {"ipv4_net": SOURCE}}, 501, "Target not supported"),
    ({"action": "deny", "target": {"file": {}}}, 501, "Target not supported"),
    ({"action": "deny", "target": {"ipv4_connection": {"dst_port": 80}}}, 501, "without src_addr"),
    (
        {"action": "deny", "target": {"ipv4_connection": {"src_addr": SOURCE, "dst_port": 80}}},
        501,
        "a part of a five-tuple",
    ),
    ({**DENY, "actuator": {"er": {}}}, 501, "profile slpf"),
    ({**DENY, "actuator": {"slpf": {"hostname": "other"}}}, 501, "this is loomidi"),
    (with_args(start_time=NOW_NS // 10**6 + 9), 501, "has not come yet"),
    (with_args(slpf={"insert_rule": 7}), 501, "insert_rule"),
    (with_args(slpf={"drop_process": "reject"}), 501, "drop_process reject"),
    (with_args(slpf={"running": False}), 501, "every rule here has an end"),
    (with_args(slpf={"persistent": True}), 501, "every rule here has an end"),
    (with_args(slpf={"direction": "egress"}), 501, "direction egress"),
    (with_args(custom=1), 501, "Option not supported: custom"),
    (None, 400, "no OpenC2 command"),
    ({"body": {"openc2": {}}}, 400, "no OpenC2 command"),
    ({"action": "forbid", "target": {"ipv4_net": SOURCE}}, 400, "none of the language"),
    ({"action": "deny"}, 400, "exactly one member"),
    ({"action": "deny", "target": {"ipv4_net": "x"}}, 400, "no IPv4 address"),
    ({"action": "deny", "target": {"ipv6_net": SOURCE}}, 400, "no IPv6 address"),
    ({"action": "deny", "target": {"ipv4_connection": {**TUPLE, "dst_port": 70000}}}, 400, "dst_port is a port"),
    ({"action": "deny", "target": {"ipv4_connection": {**TUPLE, "protocol": "gre"}}}, 400, "protocol is one of"),
    ({"action": "query", "target": {"features": ["all"]}}, 400, "is none of versions"),
    ({"action": "delete", "target": {"slpf:rule_number": True}}, 400, "the number that a deny"),
    (with_args(start_time=1, stop_time=2, duration=1), 400, "at most two"),
    (with_args(stop_time=1), 400, "in the past"),
    (with_args(duration=-1), 400, "whole number of milliseconds"),
    (with_args(slpf={"drop_process": "burn"}), 400, "drop_process is none"),
    (with_args(response_requested="maybe"), 400, "response_requested is one of"),
]


@pytest.mark.parametrize(("command", "status", "told"), NOT_DONE)
def test_what_is_not_done_has_its_status_and_its_reason(command: Any, status: int, told: str) -> None:
    response = answered(command)
    response = response.get("body", {}).get("openc2", {}).get("response", response)
    assert (response["status"], told in response["status_text"]) == (status, True), response


@pytest.mark.parametrize(
    "match",
    [
        Match(source=SOURCE),
        Match(source="198.51.100.0/24"),
        Match(source="2001:db8::7"),
        Match(SOURCE, "10.0.0.2", 4000, 80, 6),
        Match("2001:db8::7", "2001:db8::1", 5, 53, 17),
    ],
)
def test_a_drop_goes_out_and_comes_in_as_the_same_match_and_time(match: Match) -> None:
    command = openc2.command_of(a_fold(match=match, ttl_s=120.0))
    meaning = openc2.meaning_of(json.loads(json.dumps(command)), NOW_NS)
    assert meaning.fold is not None
    assert (meaning.fold.match, meaning.fold.ttl_s, meaning.fold.action) == (match, 120.0, "drop")


@pytest.mark.parametrize(
    "other", [a_fold("rate"), a_fold(kind=FoldKind.SCALE_OUT, action="scale"), a_fold(match=Match())]
)
def test_what_slpf_has_no_words_for_is_not_sent(other: Any) -> None:
    with pytest.raises(BadCommand, match="SLPF has no rates"):
        openc2.command_of(other)


def test_a_playbook_s_openc2_command_is_carried_out_here_and_nothing_is_sent() -> None:
    table, first = a_table(), key("action")
    command = {"type": "openc2-http", "command": "POST /openc2 HTTP/1.1", "content": json.dumps(DENY)}
    report = table.runner.start(book(first, {first: action(command)}), dry=False)
    assert (report.state, table.blocked()) == ("completed", [("drop", SOURCE)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([SOURCE, "::/0", "tcp", "slpf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
COMMAND = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["deny", "allow", "delete", "query", "update"]) | JSON,
        "target": JSON
        | st.dictionaries(st.sampled_from([k for v in openc2.PAIRS.values() for k in v]), JSON, max_size=2),
    },
    optional={
        "args": JSON | st.fixed_dictionaries({}, optional={"slpf": JSON, "duration": JSON, "start_time": JSON}),
        "actuator": JSON | st.fixed_dictionaries({"slpf": JSON}),
        "command_id": JSON,
    },
)


@settings(max_examples=200, deadline=None)
@given(COMMAND | JSON)
def test_no_command_ever_causes_anything_but_a_response(command: Any) -> None:
    response = consumer(a_table(Mode.SHADOW)).answer(command)
    assert response is None or response.get("status", 200) in (102, 200, 400, 401, 403, 500, 501)
