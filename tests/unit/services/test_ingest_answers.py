"""202 means that the bus holds it; anything else is a problem that says what to do, and nothing was taken."""

import gzip
import json

import pytest

from loomidi.services.http.limits import BodyLimits
from loomidi.services.http.problems import PROBLEM_JSON
from loomidi.services.ingest_api.settings import IngestSettings
from tests.unit.services.ingesting import JSON, LENIENT, ROW, Service, plain


def test_one_metric_is_on_the_bus_when_it_is_answered() -> None:
    service = Service()
    answer = service.metrics({"timestamp": "2026-11-26T12:03:07.123456789Z", **ROW, "rack": 3})
    assert (answer.status_code, answer.json()["accepted"], answer.json()["id"]) == (202, {"rows": 1}, "n1.ingest/7/0#0")
    (row,) = plain(service.held("metrics"))
    assert row["timestamp"] == 1_795_694_587_123_456_789
    assert (row["source_id"], row["value"], json.loads(row["extra"])) == ("node-1", 0.5, {"rack": 3})


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl; charset=utf-8"])
def test_an_object_a_line_is_a_row_each(media_type: str) -> None:
    service = Service()
    lines = "\n".join(json.dumps(ROW | {"value": value}) for value in range(3)) + "\n\n"
    answer = service.post("system-metrics", lines, Content_Type=media_type)
    assert answer.json()["accepted"] == {"rows": 3}
    assert service.held("metrics")["value"].to_pylist() == [0, 1, 2]


def test_a_body_with_a_bad_row_is_refused_as_a_whole() -> None:
    service = Service()
    answer = service.metrics([ROW, ROW | {"value": "much"}, ROW])
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON)
    assert answer.json()["refused"]["first"] == [
        {"index": 1, "reason": "value", "cause": "value is missing or no finite number"}
    ]
    assert service.held("metrics").num_rows == 0
    assert service.count("receive", "refused_with_body", "rows") == 2


def test_a_lenient_sender_has_the_good_rows_taken_and_the_others_told() -> None:
    service = Service()
    answer = service.metrics([ROW, {}, ROW], **LENIENT)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "handling=lenient")
    assert (answer.json()["accepted"], answer.json()["refused"]["reasons"]) == ({"rows": 2}, {"source_id": 1})
    assert service.held("metrics").num_rows == 2


def test_no_good_row_is_no_success_however_lenient() -> None:
    assert Service().metrics([{}, 3], **LENIENT).status_code == 422


def test_at_most_a_hundred_refused_rows_are_told_one_by_one() -> None:
    refused = Service().metrics([{}] * 250).json()["refused"]
    assert (refused["rows"], len(refused["first"]), refused["first"][-1]["index"]) == (250, 100, 99)


def test_a_large_body_is_answered_as_a_small_one_is() -> None:
    timed = ROW | {"timestamp": "2026-11-26T12:03:07Z"}
    rows = [timed | {"value": value} for value in range(40)] + [{"value": 1}]
    small, large = Service(), Service(IngestSettings(inline_octets=100))
    answers = [service.metrics(rows, **LENIENT).json() for service in (small, large)]
    assert answers[0] == answers[1]
    assert small.held("metrics").drop_columns("received") == large.held("metrics").drop_columns("received")


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        ("{", {}, 400, "malformed"),
        ("[" * 100_000, {}, 400, "malformed"),
        ('{"value": NaN}', {}, 400, "malformed"),
        ("\xff", {}, 400, "malformed"),
        ("", {}, 422, "unusable"),
        ("[]", {}, 422, "unusable"),
        ("{}", {"Content-Type": "text/plain"}, 415, "media-type"),
        ("{}", {"Content-Encoding": "br"}, 415, "media-type"),
        ("{}", {"Content-Encoding": "gzip"}, 400, "malformed"),
        ("{}", {"Idempotency-Key": "k" * 256}, 400, "malformed"),
        ("{}", {"Host": "rebound.example"}, 403, "forbidden"),
        (" " * 2000, {}, 413, "too-large"),
    ],
)
def test_each_fault_has_its_status_and_reason(body: str, headers: dict[str, str], status: int, reason: str) -> None:
    service = Service(IngestSettings(limits=BodyLimits(body_octets=1000 if status == 413 else 1 << 20)))
    octets = body.encode("latin-1")
    answer = service.client.post("/loom-api/data/system-metrics", content=octets, headers={**JSON, **headers})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.json()["detail"]
    assert service.count("request", reason, "requests") == 1


def test_paths_and_methods_that_are_not_there_are_problems_too() -> None:
    client = Service().client
    assert client.get("/loom-api/nothing").json()["reason"] == "not-found"
    wrong = client.get("/loom-api/data/events")
    assert (wrong.json()["reason"], wrong.headers["allow"]) == ("method", "POST")


def test_gzip_is_unpacked_and_a_bomb_is_not() -> None:
    service = Service()
    rows = gzip.compress(json.dumps([ROW] * 50).encode())
    assert service.post("system-metrics", rows, **JSON, Content_Encoding="gzip").json()["accepted"] == {"rows": 50}
    assert service.count("request", "received", "octets") == len(rows)
    bomb = gzip.compress(b" " * 5_000_000)
    assert service.post("system-metrics", bomb, **JSON, Content_Encoding="gzip").json()["reason"] == "too-large"
    assert service.count("request", "too-large", "octets") == len(bomb)


def test_memory_for_bodies_is_bounded_and_given_back() -> None:
    service = Service(IngestSettings(limits=BodyLimits(memory_octets=1000)))
    assert service.post("system-metrics", " " * 1000 + "x", **JSON).status_code == 429
    assert service.metrics(ROW).status_code == 202


def test_a_bus_that_is_away_is_told_after_a_bounded_wait() -> None:
    service = Service(IngestSettings(bus_wait_s=0.05, retry_after_s=7))
    service.bus.away = True
    answer = service.metrics(ROW)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert service.count("publish", "unacknowledged", "rows") == 1
    service.bus.away = False
    assert service.metrics(ROW).status_code == 202


def test_a_key_makes_the_same_body_one_body() -> None:
    service = Service()
    answers = [service.metrics(ROW, Idempotency_Key="one").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert service.held("metrics").num_rows == 1


def test_a_key_is_known_again_by_the_bus_after_a_restart() -> None:
    first = Service()
    before = first.metrics([ROW, ROW], Idempotency_Key="one").json()
    again = Service(bus=first.bus, epoch=8).metrics([ROW, ROW], Idempotency_Key="one").json()
    assert (before["id"], before["duplicate"]) == (again["id"], False)
    assert again["duplicate"]
    assert first.held("metrics").num_rows == 2


def test_a_key_of_another_body_is_refused_and_nothing_is_lost_by_it() -> None:
    service = Service()
    service.metrics(ROW, Idempotency_Key="one")
    assert service.metrics(ROW | {"value": 1}, Idempotency_Key="one").json()["reason"] == "key-reused"
    later = Service(bus=service.bus, epoch=8)
    assert later.metrics(ROW | {"value": 1}, Idempotency_Key="one").status_code == 202
    assert service.held("metrics").num_rows == 2


def test_a_key_whose_request_failed_may_be_sent_again() -> None:
    service = Service(IngestSettings(bus_wait_s=0.05))
    service.bus.away = True
    assert service.metrics(ROW, Idempotency_Key="one").status_code == 503
    service.bus.away = False
    assert service.metrics(ROW, Idempotency_Key="one").status_code == 202


def test_events_are_known_by_their_content_and_kept_whole() -> None:
    service = Service()
    audit = {"kind": "EventList", "items": [{"auditID": "a1", "stage": "ResponseComplete", "verb": "get"}]}
    falco = {"rule": "Shell", "priority": "Error", "output_fields": {}, "time": "2026-11-26T12:00:00Z"}
    kinds = [service.post("events", json.dumps(one), **JSON).json()["kind"] for one in (audit, falco, {"what": 1})]
    assert kinds == ["kubernetes-audit", "falco", "json"]
    assert json.loads(service.held("events")["body"].to_pylist()[-1]) == {"what": 1}


def test_events_without_a_usable_time_are_refused_with_the_cause() -> None:
    answer = Service().post("events", json.dumps([{"timestamp": "noon"}, {}]), **JSON)
    assert (answer.status_code, answer.json()["refused"]["rows"]) == (422, 1)


def test_otlp_has_its_own_answer() -> None:
    service = Service()
    point = {"timeUnixNano": "1795694587123456789", "asDouble": 1.5}
    metric = {"name": "load", "gauge": {"dataPoints": [point]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
    answer = service.client.post("/loom-api/v1/metrics", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    assert service.held("metrics")["metric_name"].to_pylist() == ["load"]
