"""The readers of public data sets, on tiny made-up files in their layouts; and how answers are scored."""

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loomidi.conductor.verbs.bench import command
from loomidi.contracts import InputError
from loomidi.origami.causes import Role, SpanSums
from loomidi.services.benching import nezha, petshop, scoring

BEGIN = dt.datetime(2024, 1, 2, 3, 0, tzinfo=dt.UTC)
PODS = {"ts-front-service": "ts-front-service-6cfdd55578-gfj6q", "ts-cart-service": "ts-cart-service-5dcc8d4b4-2xk9p"}
ONSET = 30  # minutes after BEGIN


def nezha_day(root: Path, folder: str = "2024-01-02") -> Path:
    """Half an hour of past, then the cart takes ten times its processor for three minutes."""
    day = root / "rca_data" / folder
    for part in ("metric", "trace"):
        (day / part).mkdir(parents=True)
    onset = BEGIN + dt.timedelta(minutes=ONSET)
    fault = {
        "inject_time": f"{onset:%F %T}",
        "inject_timestamp": str(int(onset.timestamp())),
        "inject_type": "cpu_consumed",
    }
    fault["inject_pod"] = PODS["ts-cart-service"]
    (day / f"{folder}-fault_list.json").write_text(json.dumps({"03": [fault]}))
    for service, pod in PODS.items():
        lines = ["Time,TimeStamp,PodName,CpuUsage(m),PodServerLatencyP95(s),PodWorkload(Ops)"]
        for minute in range(ONSET + 5):
            busy = 10 if service == "ts-cart-service" and minute >= ONSET else 1
            at = int(BEGIN.timestamp()) + 60 * minute
            lines.append(
                f"t,{at},{pod},{busy * (20 + minute % 2)},{0.01 + 0.001 * (minute % 3)},{'' if minute == 1 else 5}"
            )
        (day / "metric" / f"{pod}_metric.csv").write_text("\n".join(lines))
    (day / "metric" / "dependency.csv").write_text(
        "Source,Target,Weight\nts-front-service,ts-cart-service,1\nx,10.0.0.1,1\n"
    )
    for minute in (ONSET - 1, ONSET + 1):
        (day / "trace" / f"03_{minute}_trace.csv").write_text(_trace(minute))
    return root


def _trace(minute: int) -> str:
    at = int((BEGIN + dt.timedelta(minutes=minute)).timestamp()) * 10**9
    front, cart = PODS["ts-front-service"], PODS["ts-cart-service"]
    return (
        "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
        f"1,00000001,root,{front},serve,{at},{at + 40_000_000},40000\n"
        f"1,00000002,00000001,{front},call,{at + 5_000_000},{at + 35_000_000},30000\n"
        f"1,1e5,00000002,{cart},get,{at + 10_000_000},{at + 30_000_000},20000\n"
    )


def petshop_data(root: Path) -> Path:
    """One scenario with normal rows and one issue of the shop, caused by its search; one without normal rows."""
    for scenario, normal in (("low", True), ("temporal", False)):
        folder = root / "dataset" / scenario
        issue = folder / "test" / "issue_0"
        issue.mkdir(parents=True)
        (folder / "graph.csv").write_text(",Shop,Search\nShop,0.0,1.0\nSearch,0.0,0.0\n")
        if normal:
            (folder / "noissue").mkdir()
            (folder / "noissue" / "metrics.csv").write_text(_rows([1.0] * 60, 9_000_000))
        (issue / "metrics.csv").write_text(_rows([1.0, 1.0, 5.0, 5.0, 1.0], 1_000_000))
        target = {"node": "Shop", "metric": "latency", "agg": "Average", "timestamp": 1_000_000 + 550}
        (issue / "target.json").write_text(
            json.dumps({"target": target, "root_cause": {"node": "Search", "metric": None}})
        )
    return root


def _rows(slower: list[float], begin: int) -> str:
    nodes = ("Shop", "Search")
    heads = [(node, metric, how) for metric, how in (("latency", "Average"), ("requests", "Sum")) for node in nodes]
    lines = [
        ",".join([name, *(head[at] for head in heads)])
        for at, name in enumerate(("microservice", "metric", "statistic"))
    ]
    lines.append("unix_timestamp" + "," * len(heads))
    for at, factor in enumerate(slower):
        own = 0.1 + 0.002 * (at % 3)
        lines.append(f"{begin + 300 * at}.0,{own + 0.05 * factor},{0.05 * factor + 0.001 * (at % 2)},100.0,100.0")
    return "\n".join(lines)


@pytest.mark.parametrize("below", ["", "rca_data", "rca_data/2024-01-02"])
def test_a_fault_of_nezha_is_found_from_any_of_its_folders(tmp_path: Path, below: str) -> None:
    result = scoring.score(nezha.cases(nezha_day(tmp_path) / below))
    assert [(answer.case.truth, answer.case.kind, answer.place) for answer in result.answers] == [
        ("ts-cart-service", "cpu_consumed", 1)
    ]


def test_nezha_is_read_from_metrics_and_traces_until_the_window_ends(tmp_path: Path) -> None:
    case = next(nezha.cases(nezha_day(tmp_path)))
    observed = case.observe()
    assert max(observed.signals["time_ns"].to_pylist()) < case.window.end_ns
    assert set(observed.signals["role"].to_pylist()) >= {Role.RESOURCE.value, Role.CLIENT.value, Role.SELF.value}
    assert observed.calls.to_pylist() == [{"caller": "ts-front-service", "callee": "ts-cart-service"}]


def test_traces_of_the_past_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(nezha.cases(nezha_day(tmp_path)))
    case.observe()
    monkeypatch.setattr(SpanSums, "add", lambda *_: pytest.fail("read again"))
    case.observe()


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("cartservice-579f59597d-wc2lz", "cartservice"),
        ("mysql-0", "mysql"),
        ("ts-order-service-7d9-x", "ts-order-service-7d9-x"),
    ],
)
def test_a_pod_is_known_by_its_workload(pod: str, name: str) -> None:
    assert nezha.service(pod) == name


def test_an_issue_of_petshop_is_found_with_and_without_normal_rows_of_its_own(tmp_path: Path) -> None:
    result = scoring.score(petshop.cases(petshop_data(tmp_path)))
    assert [(answer.case.group, answer.place) for answer in result.answers] == [("low", 1), ("temporal", 1)]
    assert list(petshop.cases(tmp_path, ("train",))) == []


def test_windows_without_a_fault_name_nobody(tmp_path: Path) -> None:
    assert scoring.silent(petshop.quiet(petshop_data(tmp_path))) == (1.0, 6)


def test_a_tie_counts_against_the_method() -> None:
    assert scoring.place_of("b", {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.5}, 9) == 3
    assert scoring.place_of("z", {"a": 1.0}, 9) == 9


@pytest.mark.parametrize("read", [lambda path: list(nezha.cases(path)), petshop.scenarios])
def test_a_folder_of_something_else_is_told_what_was_expected(tmp_path: Path, read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="give the folder that holds"):
        read(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    petshop_data(tmp_path)
    (tmp_path / "dataset" / "low" / "test" / "issue_0" / "metrics.csv").write_text("a,b\n1,x\n")
    with pytest.raises(InputError, match=r"metrics\.csv: not a PetShop metrics file"):
        petshop.scenarios(tmp_path)


def test_the_command_gives_the_names_of_the_papers(tmp_path: Path) -> None:
    nezha_day(tmp_path / "n")
    petshop_data(tmp_path / "p")
    ran = {
        name: CliRunner().invoke(command, ["rca", "--dataset", name, "--path", str(tmp_path / name[0]), "--json"])
        for name in ("nezha", "petshop")
    }
    found = {name: json.loads(result.stdout) for name, result in ran.items()}
    assert (found["nezha"]["ac1"], found["nezha"]["by_kind"]["cpu_consumed"]["ac3"]) == (1.0, 1.0)
    assert (found["petshop"]["top1"], found["petshop"]["top3"], found["petshop"]["specificity"]) == (1.0, 1.0, 1.0)
    assert found["nezha"]["chance"] == {"ac1": 0.5, "ac3": 1.0}


def test_a_path_that_is_no_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["rca", "--dataset", "nezha", "--path", str(tmp_path / "no")])
    assert isinstance(result.exception, InputError)
    assert "is no folder" in str(result.exception)
