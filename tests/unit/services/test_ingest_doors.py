"""Who is let in, what a service refuses to open, what bodies may not do; probes; the description that is served."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.contracts.schemas import COUNTERS
from loomidi.services.http.authority import Authority, Door, Gate, Tokens
from loomidi.services.http.limits import BodyLimits, Budget, whole_body
from loomidi.services.http.problems import PROBLEM_JSON, STATUSES, Answer, Problem
from loomidi.services.http.routing import Call, Route, application
from loomidi.services.ingest_api import documents
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.shared.probes import Probes, Sample, exposition
from tests.unit.services.ingesting import ROW, Client, Service, plain

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "0123456789abcdef"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name in ("token", "cert", "key", "ca"):
        (tmp_path / name).write_text(f"# for tests\n{TOKEN}\n")
    return {name: tmp_path / name for name in ("token", "cert", "key", "ca")}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.net"])
@pytest.mark.parametrize("given", [(), ("token",), ("cert", "key")])
def test_a_door_to_other_machines_needs_tls_and_proof_of_who_comes(
    files: dict[str, Path], host: str, given: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match="can be reached from other machines"):
        door(files, host, *given).check()


@pytest.mark.parametrize("given", [("cert", "key", "token"), ("cert", "key", "ca"), ("cert", "key", "ca", "token")])
def test_with_both_it_opens(files: dict[str, Path], given: tuple[str, ...]) -> None:
    door(files, "0.0.0.0", *given).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_nothing(files: dict[str, Path], host: str) -> None:
    door(files, host).check()


def test_half_of_tls_is_none(files: dict[str, Path]) -> None:
    for given in (("cert",), ("key",), ("ca",)):
        with pytest.raises(UsageError, match="tls-cert"):
            door(files, "127.0.0.1", *given).check()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Door(token_file=tmp_path / "none").check()


def door(files: dict[str, Path], host: str, *given: str) -> Door:
    fields = {"token": "token_file", "cert": "tls_cert", "key": "tls_key", "ca": "client_ca"}
    return Door(host=host, **{fields[name]: files[name] for name in given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "status"),
    [({}, 401), ({"Authorization": "Basic x"}, 401), ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401), (None, 202)],
)
def test_where_there_are_tokens_one_must_be_shown(
    files: dict[str, Path], header: dict[str, str] | None, status: int
) -> None:
    service = Service(IngestSettings(door=door(files, "127.0.0.1", "token")))
    header = {"Authorization": f"bearer {TOKEN}"} if header is None else header
    answer = service.metrics(ROW, **{name.replace("-", "_"): value for name, value in header.items()})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_descriptions_need_no_token(files: dict[str, Path]) -> None:
    service = Service(IngestSettings(door=door(files, "127.0.0.1", "token")))
    assert service.client.get("/loom-api/openapi.json").json()["openapi"].startswith("3.")
    assert service.client.get("/loom-api/openapi.yaml").text == documents.text()


def test_a_changed_file_of_tokens_is_read_again_and_a_broken_one_changes_nothing(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loomidi.services.http.authority._LOOK_AGAIN_S", 0)
    tokens = Tokens(files["token"])
    files["token"].write_text(f"{'n' * 20}\n{TOKEN}\n")
    assert tokens.knows("n" * 20)
    files["token"].write_text("short\n")
    assert tokens.knows(TOKEN)
    files["token"].unlink()
    assert tokens.knows(TOKEN)


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "\xe9" * 20])
def test_a_file_without_a_usable_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(InputError, match="token"):
        Tokens(tmp_path / "token")


@pytest.mark.parametrize(
    ("peer", "host", "let_in"),
    [
        ("127.0.0.1", b"localhost:8080", True),
        ("::1", b"[::1]:8080", True),
        ("127.0.0.1", b"[::1]", True),
        ("127.0.0.1", b"", True),
        ("127.0.0.1", b"rebound.example:8080", False),
        ("192.0.2.1", b"localhost", False),
    ],
)
def test_without_a_token_only_this_machine_by_its_own_name_is_let_in(peer: str, host: bytes, let_in: bool) -> None:
    scope, headers = {"client": (peer, 1)}, {b"host": host} if host else {}
    gate = Gate(Door())
    gate.admit(scope, headers, Authority.ANYONE)
    if let_in:
        gate.admit(scope, headers, Authority.SENDER)
    else:
        with pytest.raises(Problem, match="for its own machine"):
            gate.admit(scope, headers, Authority.SENDER)


def test_every_route_says_who_may_call_it() -> None:
    routes = Service().api.routes()
    assert {route.path for route in routes if route.authority is Authority.ANYONE} == {"/openapi.json", "/openapi.yaml"}


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    limits = BodyLimits(grace_s=0.05, least_rate=1000)

    async def slow() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(Problem, match="at less than 1,000 octets a second"):
        asyncio.run(read(slow, limits))


class FakeClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when it is told so."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(("pause_s", "taken"), [(0.9, True), (1.6, False)])
def test_a_body_is_taken_for_as_long_as_it_comes_fast_enough(pause_s: float, taken: bool) -> None:
    chunks, limits = [b"x" * 100_000] * 3, BodyLimits(grace_s=1.0, least_rate=100_000)

    async def receive() -> Any:
        asyncio.get_running_loop().now += pause_s  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return {"type": "http.request", "body": chunks.pop(), "more_body": bool(chunks)}

    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        if taken:
            assert len(runner.run(read(receive, limits))) == 300_000
            return
        with pytest.raises(Problem, match="less than 100,000 octets a second"):
            runner.run(read(receive, limits))


def test_what_a_body_took_is_given_back_whatever_happens() -> None:
    budget = Budget(1000)

    async def ends() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(Problem, match="ended before"):
        asyncio.run(read(ends, BodyLimits(), budget))
    assert budget.taken == 0


async def read(receive: Callable[[], Awaitable[Any]], limits: BodyLimits, budget: Budget | None = None) -> bytes:
    async with whole_body(receive, {}, limits, budget or Budget(1 << 30)) as body:
        return body


def test_metrics_are_in_the_format_of_prometheus() -> None:
    labels = {"path": 'a "quoted"\\\nname'}
    text = exposition([Sample("x_total", "counter", "Two\nlines", 3, labels), Sample("y", "gauge", "One", 0.5)])
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["x"].samples[0].labels == labels
    assert (families["x"].samples[0].value, families["y"].samples[0].value) == (3, 0.5)


def test_probes_tell_whether_and_why_not() -> None:
    reasons: list[str] = []
    client = Client(Probes(lambda: reasons, lambda: [Sample("x", "gauge", "One", 1)]).application())
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    reasons.append("the bus does not answer")
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["reasons"]) == (503, reasons)
    assert "x 1\n" in client.get("/metrics").text


def test_counters_are_rows_of_the_balance_and_samples() -> None:
    service = Service()
    service.metrics([ROW, ROW])
    batch = service.api.counters(9)
    assert batch.schema.equals(COUNTERS)
    rows = {(row["stage"], row["name"], row["unit"]): row["value"] for row in plain(batch)}
    assert rows["publish", "published", "rows"] == rows["receive", "accepted", "rows"] == 2
    assert {(row["node"], row["component"], row["epoch"]) for row in plain(batch)} == {("n1", "ingest", 7)}
    text = exposition(service.api.samples())
    assert 'stage="request",stream="",scope="/data/system-metrics",name="accepted",unit="requests"} 1' in text


def test_the_published_description_is_the_one_that_is_served_and_holds_the_first_version() -> None:
    assert (ROOT / "docs" / "api" / "loom_data_api.yaml").read_text() == documents.text()
    paths = documents.document()["paths"]
    assert "application/octet-stream" in paths["/data/network-flow"]["post"]["requestBody"]["content"]
    fields = documents.document()["components"]["schemas"]["Metric"]["properties"]
    assert {"timestamp", "source_id", "metric_name", "value"} <= fields.keys()


def test_every_route_and_every_status_is_described() -> None:
    paths = documents.document()["paths"]
    for route in Service().api.routes():
        described = paths[route.path][route.method.lower()]["responses"]
        if route.method == "POST":
            given = {str(status) for reason, status in STATUSES.items() if reason not in ("not-found", "method")}
            assert given - {"500"} <= described.keys(), route.path


def test_the_page_names_every_reason_route_and_setting() -> None:
    page = (ROOT / "docs" / "ingest.md").read_text()
    assert [reason for reason in STATUSES if f"`{reason}`" not in page] == []
    assert [route.path for route in Service().api.routes() if f"`{route.path}`" not in page] == []
    source = (ROOT / "src" / "loomidi" / "services" / "ingest_api" / "settings.py").read_text()
    names = re.findall(r"^    (\w+): ", source.split("class IngestSettings")[1], re.MULTILINE)
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("error", "status"), [(EnvironmentLacks("no table"), 429), (KeyError("a bug"), 500)])
def test_whatever_a_handler_raises_is_answered_as_a_problem(error: Exception, status: int) -> None:
    async def handler(_call: Call) -> Answer:
        raise error

    seen: list[int] = []
    routes = [Route("GET", "/x", Authority.ANYONE, handler)]
    client = Client(application("", routes, Gate(Door()), lambda _path, answer, *_: seen.append(answer.status)))
    answer = client.get("/x")
    assert (answer.status_code, answer.headers["content-type"], seen) == (status, PROBLEM_JSON, [status])
    assert "a bug" not in answer.text


def test_a_request_is_json_whatever_the_case_of_its_media_type() -> None:
    answer = Service().client.post("/loom-api/data/events", content="{}", headers={"Content-Type": "Application/JSON"})
    assert answer.status_code == 202
