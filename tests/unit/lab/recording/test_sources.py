"""Sources: rows say what came, odd input is counted, the audit log and its file agree."""

import http.client
import json
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from loomidi.contracts.errors import Conflict, InputError
from loomidi.loom.flows.accounts import LinkId
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources import nodes
from loomidi_lab.recording.sources.auditing import Audit
from loomidi_lab.recording.sources.exposition import Exposition, plain
from loomidi_lab.recording.sources.following import Tail
from loomidi_lab.recording.sources.metering import Flows
from loomidi_lab.recording.sources.objects import event_row
from loomidi_lab.recording.sources.requesting import Requests
from loomidi_lab.recording.sources.scraping import PodTargets
from loomidi_lab.recording.sources.serving import Receiver, inside, listening
from loomidi_lab.recording.sources.tailing import Logs
from loomidi_lab.recording.sources.tracing import Traces, span_rows
from loomidi_lab.recording.sources.working import Workers
from loomidi_lab.recording.streams import STREAMS
from loomidi_lab.recording.times import nanoseconds
from tests.unit.lab.recording.making import BEGIN, S, change, flow_batch, pod

STAMP = "2027-01-15T08:00:01.25Z"


def stream(folder: Path, name: str) -> Stream:
    return Stream(folder / name, STREAMS[name])


def rows(made: Stream, folder: Path, name: str) -> list[dict[str, Any]]:
    made.close()
    found: list[dict[str, Any]] = parquet.read_table(folder / name).to_pylist()
    return found


# ---- times


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2027-01-15T08:00:00Z", BEGIN),
        ("2027-01-15T08:00:00.123456789Z", BEGIN + 123456789),
        ("2027-01-15T09:30:00.5+01:30", BEGIN + 500_000_000),
        ("2027-01-15T07:00:00-01:00", BEGIN),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, wanted: int) -> None:
    assert nanoseconds(text) == wanted


@pytest.mark.parametrize("text", ["", "None", "2027-01-15", "2027-01-15T08:00:00", "2027-13-xxT08:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no RFC 3339 time"):
        nanoseconds(text)


# ---- files that grow


def test_a_file_is_followed_over_renaming_and_removal(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("one\ntwo\nhal")
    tail = Tail(path)
    assert list(tail.lines()) == [b"one", b"two"]
    with path.open("a") as file:
        file.write("f\n")
        path.rename(tmp_path / "0.log.old")
        path.write_text("new\n")
        file.write("late\n")
    assert list(tail.lines()) == [b"half", b"late", b"new"]
    with path.open("a") as file:
        path.unlink()
        file.write("last\n")
    assert tail.gone
    assert list(tail.lines()) == [b"last"]
    tail.close()


def test_container_logs_are_put_together_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "node" / "shop_cart-1_uid" / "cart"
    folder.mkdir(parents=True)
    text = f"{STAMP} stdout P hel\n{STAMP} stderr F oops\n{STAMP} stdout F lo\nno CRI line\n"
    made, workers = stream(tmp_path, "logs"), Workers()
    logs = Logs({"n1": tmp_path / "node"}, made, workers)
    (folder / "0.log").write_text(text)
    logs.stop()
    found = rows(made, tmp_path, "logs")
    assert [(row["stream"], row["line"]) for row in found] == [("stderr", "oops"), ("stdout", "hello")]
    assert {(row["node"], row["namespace"], row["pod"], row["uid"], row["container"]) for row in found} == {
        ("n1", "shop", "cart-1", "uid", "cart")
    }
    assert found[0]["time_ns"] == BEGIN + 1_250_000_000
    assert made.balance.noted("lines that are not in CRI format") == 1


# ---- the audit log


def event(number: int, stamp: str = STAMP) -> dict[str, Any]:
    return {
        "kind": "Event",
        "level": "Request",
        "auditID": f"id-{number}",
        "stage": "ResponseComplete",
        "verb": "create",
        "user": {"username": "eve"},
        "sourceIPs": ["10.0.0.9"],
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "x", "subresource": "exec"},
        "responseStatus": {"code": 101},
        "requestReceivedTimestamp": STAMP,
        "stageTimestamp": stamp,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }


def line(number: int, stamp: str = STAMP) -> str:
    return json.dumps(event(number, stamp), separators=(",", ":")) + "\n"


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[tuple[Audit, Stream, Path]]:
    log = tmp_path / "audit.jsonl"
    log.write_text(line(0))
    made = stream(tmp_path, "audit")
    made.begin(BEGIN)
    found = Audit("", log, made, Workers(), port=0)
    found._begin_ns = BEGIN
    yield found, made, log
    found.close()


def post(made: Audit, *numbers: int, stamp: str = STAMP) -> int:
    return made._posted("/", json.dumps({"items": [event(number, stamp) for number in numbers]}).encode())


def test_what_the_webhook_does_not_bring_is_taken_from_the_file(audit: Any, tmp_path: Path) -> None:
    made, written, log = audit
    with log.open("a") as file:
        file.write(line(1) + line(2) + line(3))
    assert post(made, 1, 2) == 200
    made.end(BEGIN + 60 * S)
    made.stop()
    found = rows(written, tmp_path, "audit")
    assert [(row["audit_id"], row["via"]) for row in found] == [
        ("id-1", "webhook"),
        ("id-2", "webhook"),
        ("id-3", "file"),
    ]
    assert written.balance.noted("in the file") == 3
    assert (found[0]["user"], found[0]["subresource"], found[0]["code"], found[0]["decision"]) == (
        "eve",
        "exec",
        101,
        "allow",
    )


def test_an_event_that_comes_again_is_written_once(audit: Any, tmp_path: Path) -> None:
    made, written, log = audit
    with log.open("a") as file:
        file.write(line(1))
    post(made, 1, 1)
    made._read_file()
    made._write_late(everything=True)
    with log.open("a") as file:
        file.write(line(2))
    made._read_file()
    made._write_late(everything=True)
    post(made, 2)  # the webhook was late: the file had it
    assert written.balance.as_dict()["dropped"] == {"brought again by the webhook": 2}
    assert len(rows(written, tmp_path, "audit")) == 2


def test_the_backlog_from_before_the_window_is_no_part_of_it(audit: Any) -> None:
    made, written, _ = audit
    post(made, 8, stamp="2027-01-15T07:59:59Z")
    assert written.balance.as_dict()["dropped"] == {"before the window": 1}


def test_a_body_that_is_no_audit_batch_is_refused_and_counted(audit: Any) -> None:
    made, written, _ = audit
    assert made._posted("/", b"[1]") == 400
    assert written.balance.noted("bodies that are no audit events") == 1


# ---- traces


def document(**more: Any) -> dict[str, Any]:
    span = {"traceId": "AB", "spanId": "01", "name": "GET /", "kind": 2, "startTimeUnixNano": str(BEGIN)} | more
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def test_spans_keep_parents_attributes_and_what_nobody_knows() -> None:
    attributes = [
        {"key": "n", "value": {"intValue": "7"}},
        {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": True}]}}},
    ]
    made = document(
        parentSpanId="0F", attributes=attributes, status={"code": 2}, novel=1, endTimeUnixNano=str(BEGIN + 5)
    )
    row = next(span_rows(made))
    assert row[:8] == (BEGIN, BEGIN + 5, "ab", "01", "0f", "cart", "GET /", "server")
    assert row[8:] == ("error", '{"l":[true],"n":7}', '{"service.name":"cart"}', '{"novel":1}')


def test_the_receiver_takes_gzip_and_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    import gzip

    made = stream(tmp_path, "traces")
    traces = Traces("127.0.0.1", made, port=0)
    traces.start()
    url = f"http://127.0.0.1:{traces.address[1]}/v1/traces"
    body = gzip.compress(json.dumps(document()).encode())
    request = urllib.request.Request(url, body, {"Content-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
    assert traces._posted("/v1/logs", b"{}") == 404
    assert traces._posted("/v1/traces", b"[]") == 400
    with pytest.raises(Conflict, match="is taken"):
        listening("", "127.0.0.1", traces.address[1])
    traces.stop()
    assert len(rows(made, tmp_path, "traces")) == 1


def test_what_comes_on_a_kept_connection_after_the_end_is_refused_and_not_lost() -> None:
    """An exporter that keeps its connection went on being told 200 by a recorder that had ended."""
    taken = list[bytes]()
    receiver = Receiver(listening("", "127.0.0.1", 0), lambda _, body: taken.append(body) or 200)
    receiver.start()
    kept = http.client.HTTPConnection(*receiver.address, timeout=5)
    for end, body, status in ((receiver.stop, b"before", 200), (lambda: None, b"after", 503)):
        kept.request("POST", "/", body)
        with kept.getresponse() as answer:
            answer.read()
            assert answer.status == status
        end()
    assert answer.headers["Connection"] == "close"
    assert taken == [b"before"]
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(receiver.address, timeout=5)


def test_a_failure_inside_another_namespace_reaches_the_caller() -> None:
    with pytest.raises(FileNotFoundError):
        inside("no-such-namespace", lambda: threading.get_ident())
    assert inside("", os.getpid) == os.getpid()


# ---- metrics

TEXT = """# HELP shop_requests_total Requests
# TYPE shop_requests_total counter
shop_requests_total{route="/",code="200"} 5
shop_requests_total{route="/a\\"b} c",code="500"} 1.5e3
# TYPE shop_request_seconds histogram
shop_request_seconds_bucket{le="0.1"} 3
shop_request_seconds_bucket{le="+Inf"} 4
shop_request_seconds_count 4
shop_request_seconds_sum 0.25
# TYPE shop_up gauge
shop_up 1
nan_gauge NaN
container_cpu_usage_seconds_total{pod="cart-1",image=""} 12.5 1700000000000
"""


def test_the_fast_path_reads_what_the_library_reads() -> None:
    fast = Exposition()
    for _ in range(2):  # the second time from memory
        found = [(name, labels, value) for name, _, labels, value in fast.samples(TEXT) if value == value]
        wanted = [(name, labels, value) for name, _, labels, value in plain(TEXT) if value == value]
        assert found == wanted
    assert fast.bad_lines == 0


def test_a_histograms_parts_are_of_its_kind_and_bad_lines_are_counted() -> None:
    fast = Exposition()
    kinds = {name: kind for name, kind, _, _ in fast.samples(TEXT + "broken{ 3\nno_value\n")}
    assert kinds["shop_request_seconds_bucket"] == "histogram"
    assert kinds["shop_requests_total"] == "counter"
    assert fast.bad_lines == 2


def test_the_hosts_figures_can_be_read_like_any_others() -> None:
    fast = Exposition()
    names = {name for name, *_ in fast.samples(nodes.host() + nodes.node("", "no-such-group"))}
    assert {"node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_network_receive_bytes_total"} <= names
    assert fast.bad_lines == 0


def test_pods_are_scraped_while_they_run(tmp_path: Path) -> None:
    targets = PodTargets()
    labels = {"app": "cart", "app.kubernetes.io/part-of": "shop"}
    spec = {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}
    running = {"labels": labels, "spec": spec, "more_status": {"podIP": "10.0.0.5"}}
    targets.changed(pod("cart-1", "a", "10.0.0.5", **running), BEGIN)
    targets.changed(pod("other", "b", "10.0.0.6", spec=spec, more_status={"podIP": "10.0.0.6"}), BEGIN)
    assert [(target.job, target.instance) for target in targets()] == [("cart", "shop/cart-1")]
    targets.changed(pod("cart-1", "a", "10.0.0.5", "DELETED", **running), BEGIN)
    assert targets() == []


# ---- objects, requests, flows


def test_an_events_count_and_subject_are_columns() -> None:
    made = change("Event", "e", "u")
    made.object.update(involvedObject={"kind": "Pod", "namespace": "shop", "name": "cart-1"}, reason="BackOff", count=4)
    row = event_row(made, BEGIN)
    assert dict(zip(STREAMS["events"].names[1:], row, strict=True)) | {"object": ""} == {
        "time_ns": BEGIN,
        "kind": "Event",
        "api_version": "v1",
        "namespace": "shop",
        "name": "e",
        "uid": "u",
        "resource_version": "1",
        "change": "ADDED",
        "via": "watch",
        "type": "",
        "reason": "BackOff",
        "involved_kind": "Pod",
        "involved_namespace": "shop",
        "involved_name": "cart-1",
        "message": "",
        "count": 4,
        "object": "",
    }


def test_requests_count_from_when_they_were_due(tmp_path: Path) -> None:
    lines = tmp_path / "requests.jsonl"
    made = {"intended_ns": BEGIN, "sent_ns": BEGIN + 5, "done_ns": BEGIN + 2_000_000, "status": 503, "journey": "buy"}
    lines.write_text(json.dumps(made) + "\nno json\n")
    written = stream(tmp_path, "requests")
    requests = Requests(lines, written, Workers())
    requests.stop()
    figures = requests.load_between(BEGIN, BEGIN + 1)
    assert (figures.requests, figures.errors, figures.p50_ms) == (1, 1, 2.0)
    assert requests.load_between(BEGIN, BEGIN + 1, "browse").requests == 0
    assert written.balance.noted("lines that are no requests") == 1
    assert rows(written, tmp_path, "requests")[0]["duration_ns"] == 2_000_000


class FakeLink:
    """As the lab's table of links has it."""

    netns, name, kind, namespace, pod = "ns", "veth1", "pod", "shop", "cart-1"


class FakeMeters:
    """Batches that wait, then an end."""

    def __init__(self, batches: list[tuple[LinkId, pa.RecordBatch]]) -> None:
        self._batches, self.problems = batches, ()

    @property
    def ended(self) -> bool:
        return not self._batches

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]:
        taken, self._batches = self._batches, []
        return taken

    def balance(self) -> dict[LinkId, dict[str, int]]:
        return {LinkId("ns", "veth1", 3): {"received": 4, "accounted": 4}}

    def figures(self) -> dict[LinkId, dict[str, int]]:
        return {LinkId("ns", "veth1", 3): {"in_flows": 4}}

    def stop(self) -> None: ...
    def close(self) -> None: ...


def test_flows_say_which_pods_link_they_were_seen_on_and_strangers_are_kept(tmp_path: Path) -> None:
    batch = flow_batch([(BEGIN, BEGIN + S, "a", "b")])
    meters = FakeMeters([(LinkId("ns", "veth1", 3), batch), (LinkId("ns", "veth9", 4), batch)])
    made, seen = stream(tmp_path, "flows"), list[LinkId]()
    flows = Flows(meters, {"ns": "n1"}, lambda: [FakeLink()], made, Workers())
    flows.listeners.append(lambda link, _: seen.append(link))
    balance = flows.stop()
    found = [(row["node"], row["link"], row["link_kind"], row["pod"]) for row in rows(made, tmp_path, "flows")]
    assert found == [("n1", "veth1", "pod", "cart-1"), ("n1", "veth9", "unknown", "")]
    assert len(seen) == 2
    assert made.balance.noted("rows of a link whose pod was never known") == 1
    assert balance["links"]["ns/veth1#3"]["pod"] == "shop/cart-1"


def test_a_worker_that_fails_is_seen_and_one_that_is_ending_is_not() -> None:
    workers = Workers()

    def failing() -> None:
        raise OSError("the disk is full")

    workers.spawn("source", failing).join()
    assert [(name, str(error)) for name, error in workers.failures] == [("source", "the disk is full")]
    workers.stopping.set()
    workers.spawn("source", failing).join()
    assert len(workers.failures) == 1
    assert workers.join(1.0) == []


def test_a_port_on_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(Exception, match="cannot be listened on"):
        listening("", "203.0.113.77", 1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(Conflict, match="is another recording running"):
            listening("", "127.0.0.1", held.getsockname()[1])
