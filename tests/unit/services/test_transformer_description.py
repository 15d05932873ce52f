"""What is described is what is served: every route, field, bound and reason; and the first version whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from loomidi.contracts import Severity
from loomidi.origami.features.snapshots import VECTOR
from loomidi.services.http.authority import Authority
from loomidi.services.http.problems import STATUSES
from loomidi.services.transformer_api import answering, asking, documents, fields, handling
from loomidi.services.transformer_api.proposing import KINDS
from loomidi.services.transformer_api.snapshots import EDGE, MOST_EDGES, MOST_NODES, MOST_SIGNALS, NODE, SIGNAL, WINDOW
from tests.unit.services.transforming import SCAN, Service

ROOT = Path(__file__).resolve().parents[3]
FIRST: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("transformer_control_api_1_0_0.yaml").read_text())


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def resolved(node: Any) -> Any:
    """References followed one step."""
    found = node
    while isinstance(found, dict) and "$ref" in found:
        place: Any = documents.document()
        for part in found["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        found = place
    return found


def whole(node: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema: references followed, null where it is allowed."""
    node = resolved(node)
    if isinstance(node, list):
        return [whole(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: whole(inner) for name, inner in node.items() if name != "nullable"}
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") is True else made


def lacking(first: Any, served: Any, where: str) -> Iterator[str]:
    """What the first version says and the served one does not."""
    served = resolved(served)
    if isinstance(first, dict):
        for name, inner in first.items():
            if not isinstance(served, dict) or name not in served:
                yield f"{where}/{name}"
            else:
                yield from lacking(inner, served[name], f"{where}/{name}")
    elif isinstance(first, list):
        yield from (f"{where}: {one}" for one in first if one not in served)
        if where.endswith("/enum") and len(served) != len(first):
            yield f"{where}: more than {first}"
    elif first != served:
        yield f"{where}: {first!r} is {served!r}"


def test_the_first_version_is_served_whole_paths_fields_and_enums() -> None:
    assert list(lacking(FIRST["paths"], documents.document()["paths"], "")) == []
    assert documents.document()["servers"] == FIRST["servers"]


def test_no_field_is_needed_in_an_answer_of_the_first_version_that_may_be_missing_now() -> None:
    for path in FIRST["paths"]:
        answer = FIRST["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        served = documents.document()["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        assert set(answer["properties"]) <= set(resolved(served["schema"])["required"])


def test_every_answer_is_as_its_schema_says(service: Service) -> None:
    identity = service.anomaly()
    plan = service.post("/action/propose-fold", {"anomaly_id": identity, "context": {"by": 1}}).json()["plan_id"]
    answers = {
        ("/analyze/anomaly", "post"): service.post("/analyze/anomaly", SCAN),
        ("/action/propose-fold", "post"): service.post("/action/propose-fold", {"anomaly_id": identity}),
        ("/action/initiate", "post"): service.post("/action/initiate", {"plan_id": plan}),
        ("/findings", "get"): service.get("/findings"),
        ("/findings/{finding_id}", "get"): service.get(f"/findings/{identity}"),
        ("/decisions", "get"): service.get("/decisions?limit=1"),
        ("/decisions/{plan_id}", "get"): service.get(f"/decisions/{plan}"),
    }
    for (path, method), answer in answers.items():
        described = documents.document()["paths"][path][method]["responses"]["200"]["content"]["application/json"]
        assert answer.status_code == 200, path
        jsonschema.validate(answer.json(), whole(described["schema"]))


def test_the_published_description_is_the_one_that_is_served(service: Service) -> None:
    assert (ROOT / "docs" / "api" / "transformer_control_api.yaml").read_text() == documents.text()
    assert service.get("/openapi.yaml").text == documents.text()


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


def test_every_route_says_who_may_call_it(service: Service) -> None:
    of = {
        authority: {route.path for route in service.api.routes() if route.authority is authority}
        for authority in Authority
    }
    assert of[Authority.ANYONE] == {"/openapi.json", "/openapi.yaml"}
    assert of[Authority.RULER] == {"/action/propose-fold", "/action/initiate"}
    assert of[Authority.SENDER] == {"/analyze/anomaly"}


@pytest.mark.parametrize(("name", "table"), [("Node", NODE), ("Edge", EDGE), ("Signal", SIGNAL), ("Window", WINDOW)])
def test_the_tables_of_fields_are_the_schemas(name: str, table: dict[str, fields.Field]) -> None:
    schema = documents.document()["components"]["schemas"][name]
    assert set(schema["properties"]) == set(table)
    assert set(schema["required"]) == {field for field, told in table.items() if told.needed}
    for field, told in table.items():
        described = resolved(schema["properties"][field])
        if told.kind in ("whole", "number"):
            kind = {"whole": "integer", "number": "number"}[told.kind]
            assert (described["type"], described["minimum"], described["maximum"]) == (kind, told.least, told.most)
        assert bool(described.get("nullable")) is not told.needed
        assert list(described.get("enum", ())) == list(told.choices)


def test_bounds_and_words_are_those_of_the_code() -> None:
    schemas = documents.document()["components"]["schemas"]
    graph = schemas["GraphSnapshot"]["properties"]
    most = [graph[name]["maxItems"] for name in ("edges", "nodes", "signals")]
    assert most == [MOST_EDGES, MOST_NODES, MOST_SIGNALS]
    assert schemas["Severity"]["enum"] == [one.value for one in Severity]
    assert schemas["State"]["enum"] == list(handling.STATES)
    assert schemas["Origin"]["enum"] == list(handling.ORIGINS)
    assert set(schemas["ActionType"]["enum"]) == {kind.value for kind in KINDS}
    assert schemas["Identity"]["pattern"] == f"^{fields.IDENTITY.pattern}$"
    assert schemas["Name"]["pattern"] == f"^{fields.NAME.pattern}$"
    limit = documents.document()["components"]["parameters"]["Limit"]["schema"]
    assert (limit["maximum"], limit["default"]) == (asking.MOST_PAGE, asking.PAGE)


def test_the_vector_is_described_in_its_order() -> None:
    body = documents.document()["paths"]["/analyze/anomaly"]["post"]["requestBody"]["content"]["application/json"]
    vector = body["schema"]["properties"]["metrics_vector"]
    assert (vector["minItems"], vector["maxItems"]) == (len(VECTOR), len(VECTOR))
    assert ", ".join(VECTOR) in " ".join(vector["description"].split())


@pytest.mark.parametrize("path", ["/analyze/anomaly", "/action/propose-fold", "/action/initiate"])
@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"a": 1, "a": 2}', 400, "malformed"),
        (b'{"a": NaN}', 400, "malformed"),
        (b'{"a": ' + b"9" * 500 + b"}", 400, "malformed"),
        (b"{}", 422, "unusable"),
        (b'{"more": 1}', 422, "unusable"),
        (b" " * (8 << 20) + b"{}", 413, "too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_told(
    service: Service, path: str, content: bytes, status: int, reason: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.client.post(f"/transformer-api{path}", content=content, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"edges": []}, "edges is missing or empty"),
        ({"edges": None}, "edges must be an array"),
        ({"edges": [{"source": "a"}]}, "edges[0].destination is missing"),
        ({"edges": [{"source": "a", "destination": "b", "delta_flow_count": -1}]}, "delta_flow_count must be a whole"),
        ({"edges": [{"source": "a b", "destination": "c"}]}, "edges[0].source must be 1 to 253"),
        ({"edges": [{"source": "a", "destination": "b", "new_peer": 1}]}, "new_peer must be true or false"),
        ({"edges": [{"source": "a", "destination": "b"}] * (MOST_EDGES + 1)}, "at most 10,000"),
        ({"nodes": [{"id": "a", "address": "10.0.0"}]}, "address must be an IPv4"),
        ({"window": None}, "window[0] must be an object"),
        ({"at_ns": -1}, "at_ns must be a whole number"),
        ({"signals": [{"time_ns": 1, "entity": "a", "signal": "s", "role": "x", "value": 1}]}, "role must be one of"),
    ],
)
def test_what_is_wrong_with_a_graph_is_told_with_its_place(service: Service, change: dict[str, Any], told: str) -> None:
    answer = service.post("/analyze/anomaly", {"graph_snapshot": SCAN["graph_snapshot"] | change})
    assert answer.status_code == 422
    assert told in " ".join(answer.json()["reasons"])


def test_everything_that_is_wrong_is_told_at_once_and_beyond_twenty_it_is_counted(service: Service) -> None:
    edges = [{"source": 1, "destination": "b"}] * 30
    reasons = service.post("/analyze/anomaly", {"graph_snapshot": {"edges": edges}}).json()["reasons"]
    assert (len(reasons), reasons[-1]) == (21, "and 10 more of them")


def test_the_page_names_every_reason_route_setting_and_option(service: Service) -> None:
    page = (ROOT / "docs" / "transformer-api.md").read_text()
    shared = {"malformed", "token", "forbidden", "not-found", "too-large", "media-type", "unusable", "key-reused"}
    assert [reason for reason in (*answering.STATUSES, *shared) if f"`{reason}`" not in page] == []
    assert [route.path for route in service.api.routes() if f"`{route.path}`" not in page] == []
    assert [name for name in VECTOR if f"`{name}`" not in page] == []
