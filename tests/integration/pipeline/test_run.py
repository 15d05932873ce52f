"""`loomidi run` as a user meets it: fed by HTTP, asked by SQL, killed, accounted for."""

import json
import sys
from pathlib import Path

import pytest

from tests.integration.pipeline.running import Pipeline, eventually

pytestmark = pytest.mark.required

METRIC = {"timestamp": "2026-11-26T03:00:00Z", "source_id": "host-1", "metric_name": "load", "value": 1.5}


def started(pipeline: Pipeline) -> None:
    pipeline.start()
    eventually(pipeline.ready, "the pipeline to be ready")
    eventually(pipeline.listens, "the ingestion API")


def metrics(values: range) -> bytes:
    return json.dumps([{**METRIC, "value": value} for value in values]).encode()


def test_what_is_posted_is_in_the_lake_the_balance_adds_up_and_a_kill_loses_nothing(
    pipeline: Pipeline, ndpi: Path
) -> None:
    started(pipeline)
    capture = (ndpi / "pcap" / "ultrasurf.pcap").read_bytes()
    answer = pipeline.post("/data/network-flow", capture, "application/octet-stream")
    assert answer.status_code == 202, answer.text
    assert pipeline.post("/data/system-metrics", metrics(range(100)), "application/json").status_code == 202
    pipeline.kill()  # right after the acknowledgement: nothing may have been committed yet
    pipeline.kill_broker()

    started(pipeline)
    packets = answer.json()["packets"]["accounted"]
    sums = "select sum(packet_delta_count + reverse_packet_delta_count) as packets, count(*) as flows from flows"
    seen = eventually(lambda: [row for row in pipeline.query(sums) if row["flows"]], "the flows")
    assert seen == [{"packets": packets, "flows": answer.json()["accepted"]["rows"]}]
    values = eventually(lambda: pipeline.query("select value from metrics order by value"), "the metrics")
    assert [row["value"] for row in values] == list(range(100))

    assert pipeline.post("/data/network-flow", capture, "application/octet-stream").status_code == 202
    eventually(lambda: pipeline.query(sums)[0]["packets"] == 2 * packets, "the second capture")
    balance = balanced(pipeline)
    assert {"capture", "meter", "export", "publish", "commit", "bus", "table"} <= {e["stage"] for e in balance}
    assert pipeline.stop() == 0


def balanced(pipeline: Pipeline) -> list[dict[str, object]]:
    """The equations once all hold; in vain, what does not hold is shown."""
    try:
        equations: list[dict[str, object]] = eventually(lambda: adding_up(pipeline), "a balance that adds up")
    except AssertionError:
        print(pipeline.loomidi("balance", code=None))
        raise
    return equations


def adding_up(pipeline: Pipeline) -> list[dict[str, object]]:
    """The equations once all hold; counters come every second."""
    told = json.loads(pipeline.loomidi("balance", "--json", code=None) or "{}")
    return told["equations"] if told.get("adds_up") else []


def test_the_configuration_that_is_printed_is_one_that_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(pipeline.loomidi("run", "--print-config"))
    assert pipeline.loomidi("run", "--config", str(tmp_path / "run.toml"), "--print-config") == (
        pipeline.loomidi("run", "--print-config")
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--only", "buss"], "no part 'buss'"),
        (["run", "--config", "/nowhere.toml"], "--print-config"),
        (["balance", "--since", "1h", "--until", "2h"], "--until is not after --since"),
    ],
)
def test_a_wrong_command_is_one_line_and_starts_nothing(pipeline: Pipeline, arguments: list[str], says: str) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "loomidi", *arguments], env=pipeline.environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (pipeline.folder / "bus").exists()
