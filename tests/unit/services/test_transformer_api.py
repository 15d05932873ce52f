"""What the transformer API answers: each route, each problem, who is let in, and that no key is done twice."""

from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.ionic.documents import plan_id, read_plan
from loomidi.services.http.authority import Door
from loomidi.services.http.problems import PROBLEM_JSON
from loomidi.services.transformer_api.settings import TransformerSettings
from tests.unit.ionic.making import NOW_NS, a_finding
from tests.unit.origami.picturing import edge, usual
from tests.unit.services.transforming import SCAN, USUAL, Service, snapshot

SECOND = 10**9


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_usual_snapshot_is_no_anomaly_and_nothing_of_it_is_kept(service: Service) -> None:
    told = service.post("/analyze/anomaly", USUAL).json()
    assert (told["is_anomaly"], told["detected_pattern"], "anomaly_id" in told) == (False, "none", False)
    assert service.get("/findings").json() == {"findings": [], "next": None}


def test_a_scan_is_an_anomaly_with_pattern_technique_ends_and_reasons(service: Service) -> None:
    told = service.post("/analyze/anomaly", SCAN).json()
    assert (told["is_anomaly"], told["detected_pattern"]) == (True, "vertical_scan")
    assert told["entities"] == ["host/203.0.113.66", "host/10.0.0.7"]
    assert told["anomaly_score"] > 3 > told["p_value"]
    assert told["unusual_edge_count"] >= len(told["unusual_edges"]) > 0
    assert told["contributions"][0]["share"] > 0
    kept = service.get(f"/findings/{told['anomaly_id']}").json()
    assert (kept["pattern"], kept["origin"], kept["reasoning"] != "") == ("vertical_scan", "analysis", True)


def test_the_same_content_has_the_same_id_and_is_kept_once(service: Service) -> None:
    assert service.anomaly() == service.anomaly()
    assert len(service.get("/findings").json()["findings"]) == 1


def test_what_is_in_none_of_the_rules_is_called_unusual_and_has_no_fold(service: Service) -> None:
    rows = [edge("deployment/shop/db", "deployment/shop/odd", 9, flows=90_000, reset_flow_count=90_000)]
    told = service.post("/analyze/anomaly", snapshot(rows + usual(1, seed=9))).json()
    assert (told["is_anomaly"], told["detected_pattern"]) == (True, "unusual")
    answer = service.post("/action/propose-fold", {"anomaly_id": told["anomaly_id"]})
    assert (answer.status_code, answer.json()["reason"]) == (409, "no-fold")


def test_a_vector_alone_is_judged_too(service: Service) -> None:
    usual_one = [6, 3, 5, 126, 1260, 113_400, 1260, 226_800, 0, 0, 0, 0]
    flood = [6, 3, 5, 1e7, 1e8, 1e10, 0, 0, 1, 0, 0, 0]
    answers = [service.post("/analyze/anomaly", {"metrics_vector": one}).json() for one in (usual_one, flood)]
    assert answers[0]["p_value"] > answers[1]["p_value"]
    assert {"flows", "packets", "octets"} & {one["feature"] for one in answers[1]["contributions"]}


def test_fields_that_say_nothing_are_told_as_ignored(service: Service) -> None:
    body = snapshot(usual(1), colour="red")
    body["graph_snapshot"]["edges"][0]["octet_ratio"] = 0.5
    assert service.post("/analyze/anomaly", body).json()["ignored"] == ["colour", "edges.octet_ratio"]


@pytest.mark.parametrize(
    "name", ["7:", "::", "a.b", "999.1.1.1", "1.2.3", ".", "0000:0000:0000:0000:0000:ffff:1.2.3.4"]
)
def test_names_that_look_like_addresses_are_taken(service: Service, name: str) -> None:
    rows = [edge(name, "deployment/shop/web", 80), edge("deployment/shop/web", name, 80)]
    assert service.post("/analyze/anomaly", snapshot(rows)).status_code == 200


def test_latencies_in_a_window_lead_to_the_one_who_makes_the_others_wait(service: Service) -> None:
    def signals(entity: str, before: float, after: float) -> list[dict[str, Any]]:
        same = {"entity": entity, "signal": "latency", "role": "latency"}
        steps = enumerate([before] * 20 + [after] * 2)
        return [same | {"time_ns": at * 60 * SECOND, "value": value * (1 + at % 3 / 100)} for at, value in steps]

    rows = [edge("web", "cart", 80), edge("cart", "db", 80)]
    told = signals("web", 0.1, 2.1) + signals("cart", 0.08, 2.05) + signals("db", 0.01, 2.0)
    window = {"start_ns": 20 * 60 * SECOND, "end_ns": 22 * 60 * SECOND}
    causes = service.post("/analyze/anomaly", snapshot(rows, signals=told, window=window)).json()["causes"]
    assert causes[0]["entity"] == "db"
    assert causes[0]["evidence"]


def test_without_a_reference_it_is_told_how_to_get_one(tmp_path: Path) -> None:
    answer = Service(tmp_path, learned=False).post("/analyze/anomaly", USUAL)
    assert (answer.status_code, answer.json()["reason"]) == (409, "no-reference")
    assert "loomidi run" in answer.json()["detail"]
    assert answer.headers["content-type"] == PROBLEM_JSON


def test_a_fold_is_proposed_with_its_plan_manifest_radius_and_reasoning(service: Service) -> None:
    told = service.plan()
    assert (told["action_type"], told["target_resource"]) == ("RECONFIGURE_NETWORK", "host/203.0.113.66")
    assert (told["state"], told["mode"], told["graph"]) == ("allowed", "shadow", "anomaly")
    assert told["blast_radius"]["peers"] == 1
    assert (told["k8s_manifest"]["kind"], told["k8s_manifest"]["metadata"]["name"]) == ("Fold", told["plan_id"])
    assert "What the guards said" in told["reasoning"]
    plan = read_plan(service.get(f"/decisions/{told['plan_id']}").json()["plan"])
    assert plan_id(plan) == told["plan_id"]


def test_the_harder_folds_are_told_beside_it_and_kept(service: Service) -> None:
    told = service.plan()
    assert [other["action"] for other in told["alternatives"]] == ["drop"]
    listed = service.get(f"/decisions?anomaly_id={told['anomaly_id']}").json()["decisions"]
    assert {one["plan_id"] for one in listed} == {told["plan_id"], told["alternatives"][0]["plan_id"]}


def test_a_finding_of_the_pipeline_is_answered_like_an_anomaly(service: Service) -> None:
    service.hear(a_finding("vertical_scan"))
    told = service.plan("finding-0123456789abcdef")
    assert (told["action_type"], told["graph"]) == ("RECONFIGURE_NETWORK", "none")
    assert service.get("/findings?origin=loop").json()["findings"][0]["finding_id"] == "finding-0123456789abcdef"


def test_the_pipeline_s_last_word_on_a_finding_counts(service: Service) -> None:
    for state, told_ns in (("new", NOW_NS), ("over", NOW_NS + 9), ("worse", NOW_NS + 5)):
        service.hear(a_finding(), state, told_ns)
    (one,) = service.get("/findings").json()["findings"]
    assert (one["state"], one["told_ns"]) == ("over", NOW_NS + 9)


def test_a_caller_may_hold_it_to_be_less_bad_and_never_worse(service: Service) -> None:
    service.hear(a_finding("vertical_scan"))  # high
    body = {"anomaly_id": "finding-0123456789abcdef"}
    told = [service.post("/action/propose-fold", body | {"severity": one}).json() for one in ("LOW", "critical")]
    assert [one["severity"] for one in told] == ["low", "high"]
    assert service.post("/action/propose-fold", body | {"severity": "info"}).json()["reason"] == "no-fold"


def test_a_newer_graph_of_the_caller_is_what_the_radius_is_counted_on(service: Service) -> None:
    rows = [edge("203.0.113.66", f"10.0.0.{at}", 80) for at in range(1, 9)]
    context = snapshot(rows) | {"asked_by": "night shift"}
    body = {"anomaly_id": service.anomaly(), "context": context}
    told = service.post("/action/propose-fold", body).json()
    assert (told["graph"], told["blast_radius"]["flows"]) == ("context", 8)
    assert service.get(f"/decisions/{told['plan_id']}").json()["context"] == {"asked_by": "night shift"}


@pytest.mark.parametrize(
    ("path", "body"), [("/action/propose-fold", {"anomaly_id": "nobody"}), ("/action/initiate", {"plan_id": "nobody"})]
)
def test_what_is_not_known_is_404_as_a_problem(service: Service, path: str, body: dict[str, str]) -> None:
    answer = service.post(path, body)
    assert (answer.status_code, answer.json()["reason"]) == (404, "not-found")
    assert answer.headers["content-type"] == PROBLEM_JSON


@pytest.mark.parametrize("path", ["/findings/nobody", "/decisions/nobody", "/findings/%00", "/decisions/a%20b"])
def test_what_was_never_there_cannot_be_read(service: Service, path: str) -> None:
    assert service.get(path).json()["reason"] == "not-found"


def test_who_is_protected_is_not_acted_on_and_beginning_it_is_refused(tmp_path: Path) -> None:
    service = Service(tmp_path, protected=("203.0.113.0/24",))
    told = service.plan()
    assert told["state"] == "denied"
    answer = service.post("/action/initiate", {"plan_id": told["plan_id"]})
    assert (answer.status_code, answer.json()["reason"]) == (409, "denied-by-guards")
    assert answer.json()["reasons"]


def test_without_a_cluster_a_plan_that_is_begun_is_recorded_and_nothing_else(service: Service) -> None:
    told = service.plan()
    begun = service.post("/action/initiate", {"plan_id": told["plan_id"], "reason": "seen"}).json()
    assert (begun["state"], begun["fold"]) == ("shadow", None)
    kept = service.get(f"/decisions/{told['plan_id']}").json()
    assert (kept["state"], kept["begun_by"], kept["reason"]) == ("shadow", "local", "seen")
    assert service.post("/action/initiate", {"plan_id": told["plan_id"]}).json() == begun


def test_with_a_cluster_it_becomes_a_fold_in_phase_proposed_once(tmp_path: Path) -> None:
    service = Service(tmp_path, cluster=True)
    told = service.plan()
    answers = [service.post("/action/initiate", {"plan_id": told["plan_id"]}, key=key).json() for key in ("a", "b")]
    assert [answer["fold"]["name"] for answer in answers] == [told["plan_id"]] * 2
    (fold,) = service.folds
    assert (fold["spec"]["mode"], fold["spec"]["target"]) == ("shadow", "host/203.0.113.66")
    assert service.get(f"/decisions/{told['plan_id']}").json()["fold"]["phase"] == "Proposed"


def test_an_answer_of_the_cluster_that_is_lost_makes_no_second_fold(tmp_path: Path) -> None:
    service = Service(tmp_path, cluster=True)
    body = {"plan_id": service.plan()["plan_id"]}
    service.kube.lost = ["POST"]
    lost = service.post("/action/initiate", body, key="k")
    assert (lost.status_code, lost.json()["reason"], lost.headers["retry-after"]) == (503, "cluster-away", "5")
    assert service.post("/action/initiate", body, key="k").json()["state"] == "proposed"
    assert len(service.folds) == 1


def test_while_another_fold_is_at_work_on_the_target_none_is_begun(tmp_path: Path) -> None:
    service = Service(tmp_path, cluster=True)
    told = service.plan()
    service.post("/action/initiate", {"plan_id": told["plan_id"]})
    harder = service.post("/action/initiate", {"plan_id": told["alternatives"][0]["plan_id"]})
    assert (harder.status_code, harder.json()["reason"]) == (409, "at-work")
    assert len(service.folds) == 1


def test_a_cluster_that_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    service = Service(tmp_path, cluster=True)
    service.kube.failures["POST"] = [403]
    answer = service.post("/action/initiate", {"plan_id": service.plan()["plan_id"]})
    assert (answer.status_code, answer.json()["reason"]) == (503, "cluster-rejects")
    assert "told to fail" in answer.json()["detail"]


def test_a_cluster_that_is_away_does_not_hide_what_is_known_here(tmp_path: Path) -> None:
    service = Service(tmp_path, cluster=True)
    identity = service.anomaly()
    service.kube.failures["GET"] = [503]
    told = service.get(f"/findings/{identity}").json()
    assert (told["folds"], "503" in told["folds_problem"]) == ([], True)


@pytest.mark.parametrize("seconds", [601, 3700])
def test_a_plan_whose_time_is_up_is_not_begun(service: Service, seconds: int) -> None:
    told = service.plan()
    service.clock.move(seconds * SECOND)
    assert service.post("/action/initiate", {"plan_id": told["plan_id"]}).json()["reason"] == "expired"


def test_what_was_found_long_ago_begins_nothing(service: Service) -> None:
    service.hear(a_finding("vertical_scan", last_ns=NOW_NS - 3601 * SECOND))
    told = service.plan("finding-0123456789abcdef")
    assert service.post("/action/initiate", {"plan_id": told["plan_id"]}).json()["reason"] == "expired"


def test_the_same_key_gives_the_same_answer_and_says_so(service: Service) -> None:
    body = {"anomaly_id": service.anomaly()}
    first, again = (service.post("/action/propose-fold", body, key="k-1") for _ in range(2))
    assert first.json() == again.json()
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    other = service.post("/action/propose-fold", body, key="k-2").json()
    assert len(service.get("/decisions").json()["decisions"]) >= 2
    assert other["plan_id"] == first.json()["plan_id"]  # nothing has changed since, and the clock stands


def test_a_key_with_another_body_is_refused(service: Service) -> None:
    service.post("/analyze/anomaly", USUAL, key="k")
    answer = service.post("/analyze/anomaly", SCAN, key="k")
    assert (answer.status_code, answer.json()["reason"]) == (409, "key-reused")


def test_keys_and_what_they_answered_outlive_a_restart(tmp_path: Path) -> None:
    service = Service(tmp_path)
    body = {"anomaly_id": service.anomaly()}
    first = service.post("/action/propose-fold", body, key="k").json()
    service.close()
    again = Service(tmp_path).post("/action/propose-fold", body, key="k")
    assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")


def test_what_fails_is_not_remembered_under_its_key(tmp_path: Path) -> None:
    service = Service(tmp_path, learned=False)
    assert service.post("/analyze/anomaly", USUAL, key="k").status_code == 409
    service.close()
    assert Service(tmp_path).post("/analyze/anomaly", USUAL, key="k").status_code == 200


def test_keys_of_one_token_are_not_those_of_another(tmp_path: Path) -> None:
    (tmp_path / "all").write_text(f"{'a' * 16}\n{'b' * 16}")
    service = Service(tmp_path, door=Door(port=8081, token_file=tmp_path / "all"))
    answers = [
        service.post("/analyze/anomaly", body, key="k", headers={"Authorization": f"Bearer {letter * 16}"})
        for letter, body in (("a", USUAL), ("b", SCAN))
    ]
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("key", ["a b", "x" * 256])
def test_a_key_that_is_none_is_400(service: Service, key: str) -> None:
    assert service.post("/analyze/anomaly", USUAL, key=key).status_code == 400


def test_the_store_is_bounded_and_what_goes_is_counted(tmp_path: Path) -> None:
    service = Service(tmp_path, findings=3, keys=1)
    for at in range(5):
        service.hear(a_finding(id=f"finding-{at}"), told_ns=NOW_NS + at)
    told = [one["finding_id"] for one in service.get("/findings").json()["findings"]]
    assert told == ["finding-4", "finding-3", "finding-2"]
    for key in ("a", "b"):
        service.post("/analyze/anomaly", USUAL, key=key)
    samples = {(sample.name, sample.labels.get("outcome")): sample.value for sample in service.api.samples()}
    assert samples["loomidi_transformer_forgotten_total", "findings"] == 2
    assert samples["loomidi_transformer_forgotten_total", "keys"] == 1


def test_a_list_is_read_page_by_page_to_its_end(service: Service) -> None:
    for at in range(5):
        service.hear(a_finding(id=f"finding-{at}"), told_ns=NOW_NS + at // 2)
    seen, cursor = [], ""
    while cursor is not None:
        page = service.get(f"/findings?limit=2{'&cursor=' + cursor if cursor else ''}").json()
        seen += [one["finding_id"] for one in page["findings"]]
        cursor = page["next"]
    assert seen == [f"finding-{at}" for at in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=", "severity=bad", "origin=me", "pattern=a b", "x=1"],
)
def test_a_query_that_cannot_be_used_is_400(service: Service, query: str) -> None:
    assert service.get(f"/findings?{query}").status_code == 400


def test_tokens_for_snapshots_and_for_reading_open_nothing_else(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("every", "reads", "sends")}
    for name, path in files.items():
        path.write_text(name * 4)
    door = Door(port=8081, token_file=files["every"])
    service = Service(tmp_path, door=door, read_token_file=files["reads"], analyze_token_file=files["sends"])

    def statuses(token: str) -> list[int]:
        headers = {"Authorization": f"Bearer {token * 4}"}
        posts = ("/analyze/anomaly", "/action/propose-fold", "/action/initiate")
        return [service.get("/findings", headers=headers).status_code] + [
            service.post(path, [], headers=headers).status_code for path in posts
        ]

    assert statuses("every") == [200, 400, 400, 400]
    assert statuses("reads") == [200, 403, 403, 403]
    assert statuses("sends") == [403, 400, 403, 403]
    assert statuses("other") == [401, 401, 401, 401]


def test_an_address_beyond_this_machine_needs_tls_and_a_token(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tls-cert"):
        Service(tmp_path, door=Door(host="0.0.0.0", port=8081))
    assert TransformerSettings().door.local


def test_a_second_service_over_the_same_folder_is_refused(tmp_path: Path) -> None:
    service = Service(tmp_path)
    with pytest.raises(Exception, match="another transformer service has it"):
        Service(tmp_path)
    service.close()


def test_more_requests_than_may_wait_are_429(tmp_path: Path) -> None:
    answer = Service(tmp_path, waiting=0).post("/analyze/anomaly", USUAL)
    assert (answer.status_code, answer.json()["reason"], answer.headers["retry-after"]) == (429, "busy", "5")


def test_metrics_name_what_was_done(service: Service) -> None:
    service.plan()
    samples = {(sample.name, sample.labels.get("outcome")): sample.value for sample in service.api.samples()}
    assert samples["loomidi_transformer_analyses_total", "vertical_scan"] == 1
    assert samples["loomidi_transformer_plans_total", "allowed"] == 2
    assert samples["loomidi_transformer_requests_total", "/action/propose-fold accepted"] == 1
