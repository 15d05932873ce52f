"""Recordings of a real lab: a short one verifies; by `make lab-test` also Ctrl-C leaves nothing behind, smoke twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import loomidi_lab
from loomidi.contracts.errors import Conflict
from loomidi_lab import shop as shops
from loomidi_lab.cluster import Lab
from loomidi_lab.recording import compare, record, verify
from loomidi_lab.recording.planning import parse_plan
from loomidi_lab.staging.stages import journals_of

MINI: dict[str, Any] = {
    "name": "mini",
    "length_s": 45,
    "quiet": [{"from_s": 0, "to_s": 4}],
    "load": {"rate": 8, "users": 40},
    "clear": {"before_s": 8, "after_s": 10},
    "scenarios": [{"names": ["scan-services"]}],
}


@pytest.fixture(scope="module")
def mini(cluster: Lab, shop: "shops.Shop", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording for all tests of this file that only read."""
    return record(cluster, parse_plan(MINI, "mini"), 7, tmp_path_factory.mktemp("mini") / "recording")


def test_a_recording_verifies(mini: Path) -> None:
    assert [str(check) for check in verify(mini) if not check.passed] == []


def test_every_stream_has_rows_and_both_nodes_are_in_it(mini: Path) -> None:
    found = loomidi_lab.load(mini)
    rows = found.summary()["rows"]
    assert all(rows[name] > 0 for name in rows), rows
    assert set(found.flows.to_table(columns=["node"])["node"].unique().to_pylist()) == {"n1", "n2"}
    jobs = set(found.metrics.to_table(columns=["job"])["job"].unique().to_pylist())
    assert {"cadvisor", "node", "host", "frontend", "cart"} <= jobs


def test_the_scan_can_be_found_in_the_flows_of_its_source(mini: Path) -> None:
    found = loomidi_lab.load(mini)
    sources = [row for row in found.labels().to_pylist() if row["role"] == "source"]
    assert sources
    first = sources[0]
    flows = found.window(first["start_ns"], first["end_ns"] + 10_000_000_000).flows
    table = flows.to_table(columns=["pod", "source_ip_address", "destination_transport_port"])
    seen = [
        row for row in table.to_pylist() if row["pod"] == first["pod"] and row["source_ip_address"] == first["address"]
    ]
    assert len({row["destination_transport_port"] for row in seen}) > 20
    answer = found.entity_at(first["address"], first["start_ns"])
    assert answer is not None
    assert answer.row["name"] == first["pod"]


def test_most_links_of_pods_are_known(mini: Path) -> None:
    kinds = loomidi_lab.load(mini).flows.to_table(columns=["link_kind"])["link_kind"].to_pylist()
    assert kinds.count("unknown") < 0.02 * len(kinds)


def test_a_folder_that_holds_something_is_left_alone(cluster: Lab, mini: Path) -> None:
    with pytest.raises(Conflict, match="is not empty"):
        record(cluster, parse_plan(MINI, "mini"), 7, mini)


@pytest.mark.lab_long
def test_ctrl_c_takes_the_scenario_back_and_leaves_an_incomplete_recording(
    cluster: Lab, shop: "shops.Shop", tmp_path: Path
) -> None:
    plan, out = tmp_path / "mini.yaml", tmp_path / "cut"
    plan.write_text(str(MINI))  # YAML reads Python's dicts of texts and numbers
    words = ("record", "--plan", str(plan), "--seed", "7", "--out", str(out), "--name", cluster.name)
    as_at_a_prompt = ["env", "--default-signal=INT"]  # a background job's children ignore it
    program = [*as_at_a_prompt, sys.executable, "-m", "loomidi_lab", *words]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "scan-services: acting" in line:
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "incomplete" in verify(out)[0].text
    assert list(journals_of(cluster).glob("*.jsonl")) == []
    gone_by = time.monotonic() + 30
    while cluster.api.list("/api/v1/namespaces/tenants/pods") and time.monotonic() < gone_by:
        time.sleep(0.5)
    assert cluster.api.list("/api/v1/namespaces/tenants/pods") == []


@pytest.mark.lab_long
@pytest.mark.timeout(1200)
def test_two_smoke_recordings_of_one_seed_differ_in_measured_values_only(
    cluster: Lab, shop: "shops.Shop", tmp_path: Path
) -> None:
    one, other = (record(cluster, "smoke", 7, tmp_path / name) for name in ("one", "other"))
    for folder in (one, other):
        assert [str(check) for check in verify(folder) if not check.passed] == []
    assert [str(check) for check in compare(one, other) if not check.passed] == []
