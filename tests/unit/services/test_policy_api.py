"""What the policy API answers: each route, each problem with all its reasons, who is let in, what is described."""

import gzip
import json
from pathlib import Path

import pytest

from loomidi.conductor import policy_calls
from loomidi.contracts.errors import UsageError
from loomidi.ionic.policies import PolicyType
from loomidi.services.http.authority import Authority, Door
from loomidi.services.http.problems import PROBLEM_JSON, STATUSES
from loomidi.services.policy_api import answering, documents
from loomidi.services.policy_api.settings import PolicySettings
from tests.unit.ionic.policies.ruling import kyverno, rego
from tests.unit.services.governing import EDGE, LATEST, Service

ROOT = Path(__file__).resolve().parents[3]
POD = {"kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_policy_is_deployed_and_its_status_names_version_author_and_decision(service: Service) -> None:
    answer = service.post("/policy/deploy", LATEST)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["version"], answer.json()["unchanged"]) == ("Active", 1, False)
    told = service.get("/policy/status/no-latest").json()
    assert (told["status"], told["violations"], told["reasons"]) == ("Active", [], [])
    assert (told["version"]["author"], told["version"]["source_ai_decision_ids"]) == ("local", ["decision-1"])
    assert told["last_change"]["source_ai_decision_id"] == "decision-1"


def test_the_same_policy_again_is_unchanged_and_another_one_is_a_version(service: Service) -> None:
    answers = [
        service.post("/policy/deploy", body).json() for body in (LATEST, LATEST | {"source_ai_decision_id": "x"}, EDGE)
    ]
    assert [(answer["version"], answer["unchanged"]) for answer in answers] == [(1, False), (1, True), (2, False)]
    assert answers[1]["source_ai_decision_ids"] == ["decision-1", "x"]


def test_versions_their_texts_and_their_difference_can_be_read(service: Service) -> None:
    for body in (LATEST, EDGE):
        service.post("/policy/deploy", body)
    told = service.get("/policy/no-latest/versions").json()
    assert [(each["version"], each["in_force"]) for each in told["versions"]] == [(1, False), (2, True)]
    assert [(each["version"], each["before"], each["state"]) for each in told["changes"]] == [
        (1, 0, "active"),
        (2, 1, "active"),
    ]
    assert service.get("/policy/no-latest/versions/1").json()["policy_content"] == LATEST["policy_content"]
    diff = service.get("/policy/no-latest/diff?from=1").json()
    assert (diff["same"], '+\tendswith(container.image, ":edge")' in diff["diff"]) == (False, True)
    assert service.get("/policy/no-latest/diff").json()["same"]
    assert service.get("/policy").json()["policies"] == [
        {"policy_name": "no-latest", "policy_type": "OPA_Rego", "versions": 2, "version_in_force": 2}
    ]


def test_back_by_default_and_to_a_version(service: Service) -> None:
    for body in (LATEST, EDGE):
        service.post("/policy/deploy", body)
    assert service.post("/policy/no-latest/rollback", {}).json()["version"] == 1
    answer = service.post("/policy/no-latest/rollback", {"version": 0, "source_ai_decision_id": "d"}).json()
    assert (answer["version"], answer["status"]) == (0, "Inactive")
    assert service.post("/policy/no-latest/rollback", {}).status_code == 409
    assert service.post("/policy/no-latest/rollback", {"version": 9}).status_code == 404


@pytest.mark.parametrize("path", ["/policy/status/x", "/policy/x/versions", "/policy/x/versions/1", "/policy/x/diff"])
def test_what_was_never_handed_in_is_404(service: Service, path: str) -> None:
    answer = service.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "not-found")
    assert service.post("/policy/x/rollback", {}).status_code == 404


@pytest.mark.parametrize("number", ["0", "2", "-1", "a", "1" * 30, "%C2%B2"])
def test_a_version_that_is_not_there_is_404(service: Service, number: str) -> None:
    service.post("/policy/deploy", LATEST)
    assert service.get(f"/policy/no-latest/versions/{number}").status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"policy_name": "a", "policy_name": "b"}', 400, "malformed"),
        (b"{}", 422, "unusable"),
        (b" " * (1 << 20) + b"{}", 413, "too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_told(service: Service, content: bytes, status: int, reason: str) -> None:
    answer = service.client.post(
        "/policy-api/policy/deploy", content=content, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["content-type"] == PROBLEM_JSON


def test_every_field_that_is_wrong_is_told_at_once(service: Service) -> None:
    body = {"policy_name": 1, "policy_type": "x", "source_ai_decision_id": "a\n", "more": 1}
    reasons = service.post("/policy/deploy", body).json()["reasons"]
    assert [
        part
        for part in ("'more'", "policy_name", "policy_content", "policy_type is 'x'", "source_ai")
        if part not in str(reasons)
    ] == []


def test_another_type_of_body_is_415(service: Service) -> None:
    answer = service.client.post("/policy-api/policy/deploy", content="{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.headers["accept-post"]) == (415, "application/json")


def test_a_parameter_that_is_not_known_is_400(service: Service) -> None:
    assert service.get("/policy?x=1").status_code == 400


def test_what_the_engine_does_not_take_is_422_with_its_reasons_and_nothing_is_in_force(service: Service) -> None:
    service.bench.engine.strict = True
    answer = service.post("/policy/deploy", LATEST)
    assert (answer.status_code, answer.json()["reasons"]) == (422, ["line 1: the engine does not like it"])
    assert service.get("/policy/status/no-latest").json()["status"] == "Error"


def test_an_engine_that_does_not_follow_or_is_away_is_503_with_when_to_come_again(service: Service) -> None:
    service.bench.engine.deaf = True
    answer = service.post("/policy/deploy", LATEST)
    assert (answer.status_code, answer.json()["reason"]) == (503, "not-in-force")
    service.bench.engine.away = True
    answer = service.post("/policy/deploy", LATEST)
    assert (answer.status_code, answer.json()["reason"], answer.headers["retry-after"]) == (503, "engine-away", "5")


def test_a_name_that_is_in_force_as_something_else_is_409(service: Service) -> None:
    service.post("/policy/deploy", LATEST | {"policy_name": "no-host-pid"})
    body = {"policy_name": "no-host-pid", "policy_type": "Kyverno", "policy_content": kyverno().content}
    answer = service.post("/policy/deploy", body)
    assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")


def test_a_test_keeps_nothing(service: Service) -> None:
    answer = service.post("/policy/test", LATEST)
    assert (answer.status_code, answer.json()["digest"]) == (200, rego().digest)
    assert service.get("/policy").json() == {"policies": []}


def test_a_decision_log_packed_as_opa_does_becomes_violations(service: Service) -> None:
    service.post("/policy/deploy", LATEST)
    event = {"path": "shop/images/deny", "input": {"object": POD}, "result": ["no"]}
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps([event, event, {"path": "other"}]).encode())
    answer = service.client.post("/policy-api/logs", content=body, headers=headers)
    assert answer.json() == {"events": 3, "violations": 2, "unused": {"not a policy of ours": 1}}
    (violation,) = service.get("/policy/status/no-latest").json()["violations"]
    assert (violation["rule"], violation["resource"], violation["count"]) == ("deny", "Pod shop/web", 2)


def test_what_was_broken_off_is_taken_back_before_the_service_is_ready(service: Service) -> None:
    assert "what was broken off is not looked at yet" in service.api.ready()
    service.post("/policy/deploy", LATEST)
    service.bench.shelf.begin(service.bench.shelf.steps("no-latest")[0])
    assert service.get("/policy/status/no-latest").json()["status"] == "Error"
    service.settle()
    assert service.api.ready() == ["not listening"]
    assert service.bench.shelf.open_steps() == []


def test_tokens_for_reading_and_for_logs_open_nothing_else(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("all", "read", "log")}
    for name, path in files.items():
        path.write_text(name * 8)
    door = Door(token_file=files["all"])
    settings = PolicySettings(door=door, read_token_file=files["read"], log_token_file=files["log"])
    service = Service(tmp_path, settings)

    def status(token: str, path: str) -> int:
        headers = {"Authorization": f"Bearer {token * 8}"}
        answer = service.get(path, headers=headers) if path == "/policy" else service.post(path, [], headers=headers)
        return int(answer.status_code)

    paths = ("/policy", "/logs", "/policy/deploy")
    assert [status("all", path) for path in paths] == [200, 200, 400]
    assert [status("read", path) for path in paths] == [200, 403, 403]
    assert [status("log", path) for path in paths] == [403, 200, 403]
    assert [status("none", path) for path in paths] == [401, 401, 401]


def test_the_author_is_the_fingerprint_of_the_token_and_never_the_token(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("a-token-of-enough-letters")
    service = Service(tmp_path, PolicySettings(door=Door(token_file=tmp_path / "all")))
    service.post("/policy/deploy", LATEST, headers={"Authorization": "Bearer a-token-of-enough-letters"})
    (version,) = service.bench.shelf.versions("no-latest")
    assert version.author.startswith("token ")
    assert "letters" not in version.author


def test_lesser_tokens_without_those_for_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("read" * 8)
    with pytest.raises(UsageError, match="need --token-file too"):
        Service(tmp_path, PolicySettings(read_token_file=tmp_path / "read"))


def test_every_route_says_who_may_call_it(service: Service) -> None:
    open_to_all = {route.path for route in service.api.routes() if route.authority is Authority.ANYONE}
    changing = {route.path for route in service.api.routes() if route.authority is Authority.RULER}
    assert open_to_all == {"/openapi.json", "/openapi.yaml"}
    assert changing == {"/policy/deploy", "/policy/test", "/policy/{policy_name}/rollback"}


def test_every_route_its_methods_and_every_status_are_described(service: Service) -> None:
    paths = documents.document()["paths"]
    routes = service.api.routes()
    assert {(route.path, route.method.lower()) for route in routes} == {
        (path, method) for path in paths for method in paths[path]
    }
    given = {STATUSES[reason] for reason in ("malformed", "token", "forbidden")} | {503}
    for route in routes:
        described = set(paths[route.path][route.method.lower()]["responses"])
        assert route.authority is Authority.ANYONE or {str(status) for status in given} <= described, route.path


def test_the_published_description_is_the_one_that_is_served_and_holds_the_first_version(service: Service) -> None:
    assert (ROOT / "docs" / "api" / "security_policy_api.yaml").read_text() == documents.text()
    assert service.get("/openapi.yaml").text == documents.text()
    schemas = documents.document()["components"]["schemas"]
    first = {"policy_name", "policy_type", "policy_content", "source_ai_decision_id"}
    assert schemas["Policy"]["properties"].keys() == first
    assert schemas["Standing"]["enum"] == ["Active", "Inactive", "Error"]
    assert {"status", "violations"} <= schemas["Status"]["properties"].keys()


def test_the_page_names_every_reason_route_setting_and_option(service: Service) -> None:
    page = (ROOT / "docs" / "policy-api.md").read_text()
    shared = {"malformed", "token", "forbidden", "not-found", "too-large", "media-type", "unusable"}
    assert [reason for reason in (*answering.STATUSES, *shared) if f"`{reason}`" not in page] == []
    assert [route.path for route in service.api.routes() if f"`{route.path}`" not in page] == []


def test_the_command_line_knows_the_types_of_the_api() -> None:
    assert tuple(kind.value for kind in PolicyType) == policy_calls.TYPES


def test_metrics_name_what_was_done(service: Service) -> None:
    service.post("/policy/deploy", LATEST)
    samples = {(sample.name, sample.labels.get("outcome")): sample.value for sample in service.api.samples()}
    assert samples["loomidi_policy_changes_total", "deployed"] == 1
    assert samples["loomidi_policy_requests_total", "/policy/deploy accepted"] == 1
