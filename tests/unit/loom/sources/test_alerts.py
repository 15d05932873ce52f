"""Audit events, Falco alerts and Tetragon events become rows; the whole event is kept; what is none is counted."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts.schemas import EVENTS
from loomidi.loom.sources.audit import parse_audit, parse_audit_lines
from loomidi.loom.sources.falco import parse_falco, parse_falco_lines
from loomidi.loom.sources.rows import BadBody
from loomidi.loom.sources.tetragon import parse_tetragon, parse_tetragon_lines
from tests.conftest import unpacked

# As the API server's webhook posts it (audit.k8s.io/v1).
AUDIT: dict[str, Any] = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "Request",
    "auditID": "4a0c1f2e-5a56-4a5c-9a4a-3a6d6f0a3b11",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/shop/pods/cart-0/exec?command=sh",
    "verb": "create",
    "user": {"username": "alice", "groups": ["system:authenticated"]},
    "sourceIPs": ["10.0.0.9"],
    "userAgent": "kubectl/v1.34.0",
    "objectRef": {"resource": "pods", "namespace": "shop", "name": "cart-0", "apiVersion": "v1", "subresource": "exec"},
    "responseStatus": {"metadata": {}, "code": 403},
    "requestReceivedTimestamp": "2026-11-26T03:00:00.100000Z",
    "stageTimestamp": "2026-11-26T03:00:00.250000Z",
    "annotations": {"authorization.k8s.io/decision": "forbid"},
    "somethingNew": {"kept": True},
}
# The example of Falco's documentation for programs that read its JSON, with the Kubernetes fields of a real rule.
FALCO: dict[str, Any] = {
    "hostname": "n1",
    "output": "16:31:56.746609046: Error File below a known binary directory opened for writing (user=root "
    "command=touch /bin/hack file=/bin/hack)",
    "output_fields": {
        "container.id": "<NA>",
        "evt.time": 1507591916746609046,
        "fd.name": "/bin/hack",
        "k8s.ns.name": "shop",
        "k8s.pod.name": "cart-0",
        "proc.cmdline": "touch /bin/hack",
        "user.name": "root",
    },
    "priority": "Error",
    "rule": "Write below binary dir",
    "source": "syscall",
    "tags": ["filesystem", "mitre_persistence"],
    "time": "2017-10-09T23:31:56.746609046Z",
}
# The example of Tetragon's documentation, shortened.
TETRAGON: dict[str, Any] = {
    "process_exec": {
        "process": {
            "exec_id": "Z2tlLWpvaG4tNjMyLWRlZmF1bHQtcG9vbC03MDQxY2FjMC05czk1OjEzNTQ4Njc0MzIxMzczOjUyNjk5",
            "pid": 52699,
            "uid": 0,
            "cwd": "/",
            "binary": "/usr/bin/curl",
            "arguments": "https://ebpf.io/applications/#tetragon",
            "flags": "execve rootcwd",
            "start_time": "2023-10-06T22:03:57.700327580Z",
            "auid": 4294967295,
            "pod": {"namespace": "default", "name": "xwing", "workload": "xwing"},
        },
        "parent": {"binary": "/bin/bash", "pid": 52699},
    },
    "node_name": "gke-john-632-default-pool-7041cac0-9s95",
    "time": "2023-10-06T22:03:57.700326678Z",
}
KPROBE: dict[str, Any] = {
    "process_kprobe": {
        "process": {"binary": "/usr/bin/cat", "arguments": "/etc/shadow", "pod": {"namespace": "shop", "name": "a"}},
        "parent": {"binary": "/bin/bash"},
        "function_name": "security_file_permission",
        "args": [{"file_arg": {"path": "/etc/shadow"}}, {"int_arg": 4}],
        "action": "KPROBE_ACTION_SIGKILL",
        "policy_name": "file-monitoring",
    },
    "node_name": "n1",
    "time": "2026-11-26T03:00:00Z",
}

TIMES = ["timestamp", "received"]


def body(*events: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(event) for event in events).encode()


def test_an_audit_event_says_who_asked_what_of_whom() -> None:
    row = parse_audit(body(AUDIT), received_ns=7).drop_columns(TIMES).to_pylist()[0]
    assert (row["kind"], row["actor"], row["entity"], row["severity"]) == ("create", "alice", "pod/shop/cart-0", "low")
    assert row["message"] == "create shop/pods/cart-0/exec: 403"
    assert row["event_id"] == "4a0c1f2e-5a56-4a5c-9a4a-3a6d6f0a3b11/ResponseComplete"


def test_nothing_of_an_event_is_dropped() -> None:
    for parse, event in ((parse_audit, AUDIT), (parse_falco, FALCO), (parse_tetragon, TETRAGON)):
        assert json.loads(parse(body(event)).column("body")[0].as_py()) == event


def test_the_webhooks_list_is_taken_apart() -> None:
    listed = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [AUDIT, {**AUDIT, "stage": "Panic"}, 3]}
    refusals: Counter[str] = Counter()
    assert parse_audit(json.dumps(listed).encode(), refusals).num_rows == 2
    assert refusals == {"not a JSON object": 1}


def test_the_webhook_and_the_file_give_one_event_the_same_id() -> None:
    posted, read = parse_audit(body(AUDIT)), parse_audit_lines([json.dumps(AUDIT).encode()])
    assert posted.column("event_id") == read.column("event_id")


def test_a_node_that_asks_is_the_node() -> None:
    event = AUDIT | {"user": {"username": "system:node:n2"}, "impersonatedUser": {"username": "bob"}}
    row = parse_audit(body(event)).drop_columns(TIMES).to_pylist()[0]
    assert (row["node"], row["actor"]) == ("n2", "system:node:n2 as bob")


def test_a_falco_alert_keeps_rule_severity_pod_and_time() -> None:
    batch = parse_falco(body(FALCO))
    row = batch.drop_columns(TIMES).to_pylist()[0]
    assert (row["kind"], row["severity"], row["node"]) == ("Write below binary dir", "high", "n1")
    assert (row["entity"], row["actor"]) == ("pod/shop/cart-0", "root: touch /bin/hack")
    assert batch.column("timestamp").cast("int64")[0].as_py() == 1507591916746609046


def test_a_falco_alert_outside_a_pod_names_its_container() -> None:
    fields = {"container.name": "db", "container.id": "3a6d", "k8s.pod.name": "<NA>"}
    assert parse_falco(body(FALCO | {"output_fields": fields})).column("entity")[0].as_py() == "container/db"


def test_a_tetragon_event_is_told_by_its_type() -> None:
    row = parse_tetragon(body(TETRAGON)).drop_columns(TIMES).to_pylist()[0]
    assert (row["kind"], row["entity"], row["actor"]) == ("process_exec", "pod/default/xwing", "/usr/bin/curl")
    assert row["message"] == "process_exec /usr/bin/curl https://ebpf.io/applications/#tetragon"
    assert row["severity"] == "informational"


def test_what_a_policy_has_stopped_is_high() -> None:
    row = parse_tetragon(body(KPROBE)).drop_columns(TIMES).to_pylist()[0]
    assert (row["severity"], "(policy file-monitoring)" in row["message"]) == ("high", True)


def test_a_type_of_tetragon_that_comes_later_is_read_too() -> None:
    event = {"process_future": {"process": {"binary": "/x"}}, "time": "2026-11-26T03:00:00Z", "node_name": "n1"}
    assert parse_tetragon(body(event)).column("kind")[0].as_py() == "process_future"


@pytest.mark.parametrize(
    ("parse", "cause"),
    [
        (parse_audit_lines, "no audit event: it has no auditID"),
        (parse_falco_lines, "no Falco alert: it has no rule"),
        (parse_tetragon_lines, "no Tetragon event: it has none of the event types"),
    ],
)
def test_what_is_no_event_is_counted_by_its_cause(parse: Any, cause: str) -> None:
    refusals: Counter[str] = Counter()
    batch = parse([b"{}", b"nonsense", b"[1]", b""], refusals)
    assert (batch.num_rows, batch.schema) == (0, EVENTS)
    assert refusals == {cause: 1, "not JSON": 1, "not a JSON object": 1}


@pytest.mark.parametrize("parse", [parse_audit, parse_falco, parse_tetragon])
def test_a_body_that_is_no_json_is_refused_as_a_whole(parse: Any) -> None:
    for nonsense in (b"", b"   ", b"hello", b'{"a":'):
        with pytest.raises(BadBody):
            parse(nonsense)


def test_arrays_and_lines_are_read_alike() -> None:
    array = json.dumps([FALCO, FALCO | {"rule": "Other"}]).encode()
    assert parse_falco(array).num_rows == parse_falco(body(FALCO, FALCO | {"rule": "Other"})).num_rows == 2


def test_what_was_made_without_a_name_has_the_one_that_it_was_given() -> None:
    about = {"resource": "pods", "namespace": "shop"}
    event = AUDIT | {"objectRef": about, "responseObject": {"metadata": {"name": "cart-x2k"}}}
    assert parse_audit(body(event)).column("entity")[0].as_py() == "pod/shop/cart-x2k"


@pytest.mark.data
def test_every_audit_event_of_falcos_own_tests_is_read() -> None:
    """Files of one event, of many, of lists, and one of them that is no event (`{"kind": 0}`)."""
    refusals: Counter[str] = Counter()
    files = sorted(unpacked("falco-k8s-audit").rglob("k8s_audit/*.json"))
    batches = [parse_audit(file.read_bytes(), refusals) for file in files]
    assert len(files) == 23
    assert sum(batch.num_rows for batch in batches) == 27
    assert refusals == {"no audit event: it has no auditID": 1}
    assert all(batch.column("kind").null_count == 0 for batch in batches)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted({*AUDIT, *FALCO, *TETRAGON, *KPROBE, "uuid", "impersonatedUser", "responseObject"})


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ODD, max_size=6), min_size=1, max_size=4))
def test_whatever_an_event_holds_it_becomes_a_row_or_is_counted(events: list[dict[str, Any]]) -> None:
    lines = [json.dumps(event).encode() for event in events]
    for parse in (parse_audit_lines, parse_falco_lines, parse_tetragon_lines):
        refusals: Counter[str] = Counter()
        batch = parse(lines, refusals)
        batch.validate(full=True)
        assert batch.num_rows + refusals.total() >= len(events)


def test_half_a_surrogate_pair_is_kept_escaped() -> None:
    (body_text,) = parse_falco([b'{"rule":"x \\ud800","output":"\\ud800"}'][0]).column("body").to_pylist()
    assert json.loads(body_text)["output"] == "\ud800"
