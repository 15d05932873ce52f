"""Each kind of symptom measures what it says, on made-up observations; what is absent never confirms."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.errors import Retryable
from loomidi.contracts.schemas import FLOWS
from loomidi_lab.staging import draw, symptoms
from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.observing import Observer, event_ns, moment_ns
from loomidi_lab.staging.stages import LoadFigures, Stage
from loomidi_lab.staging.symptoms.flows import figure
from loomidi_lab.staging.symptoms.metric import samples
from loomidi_lab.staging.targets import at_path
from tests.unit.lab.staging.conftest import FakeLab

LINK = ("ll-lab-n1", "veth1")
A = {"kind": "Pod", "namespace": "tenants", "name": "a"}
B = {"kind": "Pod", "namespace": "tenants", "name": "b"}
BASE = int(time.time()) * 10**9


def flow(source: str, destination: str, **fields: Any) -> dict[str, Any]:
    """One record; fields that are not given are 0."""
    row: dict[str, Any] = {}
    for field in FLOWS:
        row[field.name] = None if field.nullable else ("" if field.type == pa.utf8() else 0)
        if pa.types.is_list(field.type):
            row[field.name] = []
    row |= {
        "source_ip_address": source,
        "destination_ip_address": destination,
        "protocol_identifier": 6,
        "flow_start_nanoseconds": BASE + int(fields.pop("at_s", 0) * 1e9),
        "packet_delta_count": 1,
    }
    row["flow_end_nanoseconds"] = row["flow_start_nanoseconds"] + int(fields.pop("lasts_s", 0) * 1e9)
    return row | fields


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=FLOWS)


@pytest.fixture
def stage(lab: FakeLab, scenario_of: Any) -> Stage:
    for name, address in (("a", "10.64.1.5"), ("b", "10.64.1.6")):
        lab.api.put_in("Pod", name, status={"phase": "Running", "podIP": address}, spec={"nodeName": "n1"})
    link = {"netns": LINK[0], "name": LINK[1], "kind": "pod", "namespace": "tenants", "pod": "a", "node": "n1"}
    lab.link_list = [SimpleNamespace(**link)]
    made = Stage(lab, draw(scenario_of(), 1), Observer(lab))  # type: ignore[arg-type]
    made.start_ns = BASE
    return made


def look(stage: Stage, **written: Any) -> symptoms.Measured:
    symptom = symptoms.make({"name": "test", **written})
    symptom.prepare(stage)
    return symptom.measure(stage)


def test_ports_are_counted_at_the_links_named_alone(stage: Stage) -> None:
    rows = [flow("10.64.1.5", "10.64.1.6", destination_transport_port=port) for port in (80, 81, 82)]
    stage.observer.absorb(LINK, batch(*rows))
    stage.observer.absorb(("ll-lab-n1", "veth9"), batch(flow("10.64.1.5", "10.64.1.6", destination_transport_port=99)))
    seen = look(stage, flows={"at": A, "from": A, "to": B, "count": "destination_ports", "at_least": 3})
    assert seen == symptoms.Measured(3.0, True)
    assert not look(stage, flows={"at": A, "count": "destination_ports", "at_least": 4}).confirmed


def test_what_was_before_the_act_does_not_count(stage: Stage) -> None:
    stage.observer.absorb(LINK, batch(flow("10.64.1.5", "10.64.1.6", at_s=-60)))
    assert look(stage, flows={"at": A, "count": "flows", "at_least": 1}) == symptoms.Measured(0.0, False)


def test_nothing_seen_confirms_nothing_not_even_at_most(stage: Stage) -> None:
    assert not look(stage, flows={"at": A, "count": "flows", "at_most": 5}).confirmed


def test_flows_are_narrowed_by_protocol_port_answer_and_range(stage: Stage) -> None:
    rows = [
        flow("198.51.100.7", "10.64.1.5", protocol_identifier=17, source_transport_port=53),
        flow(
            "198.51.100.8", "10.64.1.5", protocol_identifier=17, source_transport_port=53, reverse_payload_octet_count=9
        ),
        flow("203.0.113.9", "10.64.1.5", protocol_identifier=17, source_transport_port=53),
    ]
    stage.observer.absorb(LINK, batch(*rows))
    outside = {"kind": "External", "name": "198.51.100.0/24"}
    arguments = {"at": A, "from": outside, "protocol": "udp", "source_port": 53, "count": "source_hosts", "at_least": 1}
    assert look(stage, flows=arguments).value == 2.0
    assert look(stage, flows={**arguments, "unanswered": True}).value == 1.0
    assert look(stage, flows={**arguments, "protocol": "tcp"}).value == 0.0


def test_figures_of_time() -> None:
    steady = [flow("1.1.1.1", "2.2.2.2", at_s=2 * n, lasts_s=1, source_transport_port=n) for n in range(8)]
    uneven = [flow("1.1.1.1", "2.2.2.2", at_s=n * n, source_transport_port=n) for n in range(8)]
    cut = [flow("1.1.1.1", "2.2.2.2", at_s=5 * n, lasts_s=5, packet_delta_count=50) for n in range(3)]
    assert figure(pa.Table.from_batches([batch(*steady)]), "gap_variation") < 0.01
    assert figure(pa.Table.from_batches([batch(*uneven)]), "gap_variation") > 0.4
    assert figure(pa.Table.from_batches([batch(*cut)]), "longest_s") == 15.0
    assert figure(pa.Table.from_batches([batch(*cut)]), "packets_per_second") == 10.0
    assert figure(pa.Table.from_batches([batch(*steady[:3])]), "gap_variation") == 99.0


def test_audit_events_are_matched_by_user_resource_and_answer(stage: Stage, lab: FakeLab) -> None:
    stamp = "2026-11-25T22:00:00.000000Z"
    stage.start_ns = moment_ns(stamp)
    lines = [
        {"stage": "ResponseComplete", "requestReceivedTimestamp": stamp, "verb": verb, "user": {"username": user}}
        | {"objectRef": {"resource": resource, "namespace": "x", "name": "n"}, "responseStatus": {"code": code}}
        for verb, user, resource, code in (
            ("list", "system:serviceaccount:tenants:a", "secrets", 200),
            ("list", "system:serviceaccount:tenants:a", "pods", 403),
            ("list", "admin", "secrets", 200),
        )
    ]
    lab.api_log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    user = "system:serviceaccount:tenants:.*"
    assert look(stage, audit={"user": user, "count": "resources", "at_least": 2}) == symptoms.Measured(2.0, True)
    assert look(stage, audit={"user": user, "codes": [403], "resource": ["pods", "nodes"]}).value == 1.0
    assert not look(stage, audit={"user": "nobody"}).confirmed


def test_a_half_written_audit_line_waits_for_its_rest(stage: Stage, lab: FakeLab) -> None:
    stage.start_ns = 0
    line = json.dumps({"stage": "ResponseComplete", "requestReceivedTimestamp": "2026-11-25T22:00:00Z", "verb": "get"})
    lab.api_log.write_text(line[:20])
    assert stage.observer.audit(0) == []
    lab.api_log.write_text(line + "\n")
    assert [event["verb"] for event in stage.observer.audit(0)] == ["get"]


def test_kubernetes_events_since_the_start_count(stage: Stage, lab: FakeLab) -> None:
    about = {"kind": "Pod", "namespace": "shop", "name": "web-1"}
    for name, stamp in (("old", "2026-01-01T00:00:00Z"), ("new", "2099-01-01T00:00:00Z")):
        lab.api.put_in("Event", name, "shop", reason="BackOff", involvedObject=about, lastTimestamp=stamp, message="x")
    wanted = {"reason": ["BackOff", "Failed"], "namespace": "shop", "object": "Pod/web-"}
    assert look(stage, event=wanted) == symptoms.Measured(1.0, True)
    assert event_ns({"eventTime": "2026-01-01T00:00:00.5Z", "metadata": {}}) == moment_ns("2026-01-01T00:00:00.500Z")


def test_object_values_by_path_and_by_growth(stage: Stage, lab: FakeLab) -> None:
    lab.api.put_in(
        "Pod", "a", status={"containerStatuses": [{"restartCount": 1, "state": {"waiting": {"reason": "X"}}}]}
    )
    seen = look(stage, object={"entity": A, "path": "status.containerStatuses[*].state.waiting.reason", "equals": "X"})
    assert seen == symptoms.Measured("X", True)
    growing = symptoms.make(
        {
            "name": "n",
            "object": {"entity": A, "path": "status.containerStatuses[*].restartCount", "increase_at_least": 2},
        }
    )
    growing.prepare(stage)
    assert not growing.measure(stage).confirmed
    lab.api.put_in("Pod", "a", status={"containerStatuses": [{"restartCount": 3}]})
    assert growing.measure(stage) == symptoms.Measured(2.0, True)


def test_paths_of_objects() -> None:
    value = {"a": [{"type": "Ready", "v": 1}, {"type": "Other", "v": 2}], "b": {"x.y": 3}}
    assert at_path(value, "a[*].v") == [1, 2]
    assert at_path(value, "a[type=Ready].v") == [1]
    assert at_path(value, "a[1].v") == [2]
    assert at_path(value, "b.x\\.y") == [3]
    assert at_path(value, "a.c[0]") == []


def test_prometheus_samples_by_name_and_labels() -> None:
    text = '# HELP x y\nx_total{a="1",b="q\\"z"} 5\nx_total{a="2"} 7 1700000000\nx_totals 9\nx_total 1e3\n'
    assert list(samples(text, "x_total", {})) == [5.0, 7.0, 1000.0]
    assert list(samples(text, "x_total", {"a": "[12]"})) == [5.0, 7.0]
    assert list(samples(text, "x_total", {"a": "1|3"})) == [5.0]


class Pods:
    """Two pods with a counter each, as the API's proxy gives them; None: no answer."""

    def __init__(self, stage: Stage, lab: FakeLab) -> None:
        self.counters: dict[str, float | None] = {"web-1": 10.0, "web-2": 20.0}
        lab.api.put_in("Deployment", "web", spec={"selector": {"matchLabels": {"app": "web"}}})
        for name in self.counters:
            lab.api.put_in("Pod", name, status={"phase": "Running"})
            lab.api.objects[f"/api/v1/namespaces/tenants/pods/{name}"]["metadata"]["labels"] = {"app": "web"}
        lab.api.text = self.text  # type: ignore[attr-defined]
        entity = {"kind": "Deployment", "namespace": "tenants", "name": "web"}
        self.written = {"of": entity, "name": "errors_total", "at_least": 5}
        self.stage = stage

    def text(self, path: str) -> str:
        value = self.counters[path.split("/")[6].partition(":")[0]]
        if value is None:
            raise Retryable("503: no answer")
        return f"errors_total {value}\n"

    def growth(self) -> symptoms.Symptom:
        made = symptoms.make({"name": "n", "metric": {**self.written, "as": "increase"}})
        made.prepare(self.stage)
        return made


def test_a_pod_that_goes_away_is_counted_and_the_others_are_measured(stage: Stage, lab: FakeLab) -> None:
    pods = Pods(stage, lab)
    pods.counters["web-1"] = None
    assert look(stage, metric=pods.written) == symptoms.Measured(20.0, True, 1)


def test_what_a_pod_grew_by_before_it_went_away_stays(stage: Stage, lab: FakeLab) -> None:
    pods = Pods(stage, lab)
    growing = pods.growth()
    pods.counters |= {"web-1": 14.0}
    assert growing.measure(stage) == symptoms.Measured(4.0, False)
    pods.counters |= {"web-1": None, "web-2": 21.0}
    assert growing.measure(stage) == symptoms.Measured(5.0, True, 1)


def test_a_pod_that_did_not_answer_beforehand_counts_from_its_first_answer(stage: Stage, lab: FakeLab) -> None:
    pods = Pods(stage, lab)
    pods.counters["web-1"] = None
    growing = pods.growth()
    pods.counters["web-1"] = 500.0
    assert growing.measure(stage) == symptoms.Measured(0.0, False)
    pods.counters["web-1"] = 506.0
    assert growing.measure(stage) == symptoms.Measured(6.0, True)


def test_when_no_pod_answers_that_is_told(stage: Stage, lab: FakeLab) -> None:
    pods = Pods(stage, lab)
    pods.counters |= {"web-1": None, "web-2": None}
    with pytest.raises(Retryable, match="no answer"):
        look(stage, metric=pods.written)


def test_commands_by_words_number_and_code(stage: Stage, lab: FakeLab) -> None:
    lab.answer = (0, "42\n", "")
    assert look(stage, command={"at": "host", "script": "x", "at_least": 40}) == symptoms.Measured("42", True)
    assert look(stage, command={"at": "host", "script": "x", "matches": "^4"}).confirmed
    lab.answer = (7, "", "")
    assert look(stage, command={"at": "host", "script": "x", "code": 7}).confirmed
    assert not look(stage, command={"at": "host", "script": "x", "matches": "4"}).confirmed


def test_output_counts_lines_or_takes_the_number(stage: Stage) -> None:
    stage.heard("80/tcp open http\n443/tcp open https\nuploaded 1234\n")
    assert look(stage, output={"matches": "^\\d+/tcp +open", "at_least": 2}).value == 2.0
    assert look(stage, output={"matches": "uploaded (\\d+)", "at_least": 1000}) == symptoms.Measured(1234.0, True)


def test_load_by_value_and_by_ratio_to_before(stage: Stage) -> None:
    class Users:
        def load_between(self, start_ns: int, end_ns: int, journey: str = "") -> LoadFigures:
            return LoadFigures(100, 50, 20, 900) if start_ns >= stage.start_ns else LoadFigures(100, 0, 10, 100)

    stage.start_ns = time.time_ns() + 10**9
    stage.shop = Users()
    assert look(stage, load={"measure": "p99_ms", "as": "ratio", "at_least": 5}).value == 9.0
    assert look(stage, load={"measure": "error_share", "at_least": 0.4}).confirmed


@pytest.mark.parametrize(
    ("arguments", "value", "holds"),
    [
        ({"at_least": 3}, 3, True),
        ({"at_least": 3}, "2.5", False),
        ({"at_least": 3}, "many", False),
        ({"at_most": 3, "at_least": 1}, 2, True),
        ({"equals": True}, "true", True),
        ({"equals": "Running"}, "Pending", False),
        ({"matches": "^[23]"}, "302", True),
        ({}, 0, False),
        ({}, "anything", True),
    ],
)
def test_comparisons(arguments: dict[str, Any], value: Any, holds: bool) -> None:
    assert Comparison.of(arguments).holds(value) is holds
