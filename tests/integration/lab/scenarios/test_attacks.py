"""Attacks on a real cluster: they really happen, Loomidi sees them, and nothing stays behind, whatever ends the run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from loomidi_lab import staging
from loomidi_lab.cluster import Lab
from loomidi_lab.live.showing import watching
from loomidi_lab.staging.observing import Observer
from loomidi_lab.staging.stages import SCENARIO, journals_of
from loomidi_lab.staging.sweeping import sweep
from loomidi_lab.staging.targets import collection

Run = Callable[..., staging.Occurrence]
KINDS = ("Pod", "Service", "ConfigMap", "Secret", "ServiceAccount", "ClusterRole", "ClusterRoleBinding")


def left(lab: Lab) -> list[str]:
    """What runs have made and not taken back."""
    found = [one for kind in KINDS for one in lab.api.list(collection(kind))]
    marked = [one for one in found if SCENARIO in (one["metadata"].get("annotations") or {})]
    names = [one["metadata"]["name"] for one in marked if "deletionTimestamp" not in one["metadata"]]
    return names + [path.name for path in journals_of(lab).glob("*.jsonl")]


@pytest.mark.parametrize("name", ["decoy-touch", "privileged-pod", "token-abuse"])
def test_a_short_attack_really_happens_and_is_taken_back(cluster: Lab, scenario: Run, name: str) -> None:
    found = scenario(name, 3)
    assert found.void_because == ""
    assert all(symptom.confirmed for symptom in found.symptoms)
    assert all(source["pods"] for source in found.sources if source["entity"]["kind"] == "Pod")
    assert left(cluster) == []


def test_loomidi_sees_the_service_scan_with_names_and_proposes_to_isolate_the_pod(cluster: Lab) -> None:
    drawn, observer = staging.draw(staging.load("scan-services"), 1), Observer(cluster, lag_s=11.0)
    lines: list[str] = []
    with watching(cluster, observer, lines.append) as seen:
        found = staging.run(cluster, drawn, observer=observer)
    assert found.void_because == ""
    scans = [one for one in seen.sightings.values() if one.named.finding.pattern == "vertical_scan"]
    source = f"pod/tenants/{drawn.sources[0].name}"
    assert scans[0].named.finding.entities[0] == source
    assert "T1046" in scans[0].named.finding.techniques
    folds: dict[str, Any] = {proposed.fold.kind.value: proposed.fold.manifest for proposed in scans[0].folds}
    assert folds["ISOLATE_POD"]["kind"] == "NetworkPolicy"
    assert seen.balance is not None
    assert seen.balance.adds_up
    assert any(source in line for line in lines)


def test_a_run_without_its_symptom_is_void(cluster: Lab) -> None:
    """The scan is made to ask one port only: the cluster must not confirm what did not happen."""
    drawn = staging.draw(staging.load("scan-services"), 1)
    for step in drawn.phases["act"]:
        step["exec"]["script"] = "nmap -n -Pn -sT -p 8080 @{pod:tenants/ledger}"
    found = staging.run(cluster, drawn)
    assert "symptom not confirmed" in found.void_because
    assert left(cluster) == []


def start(lab: Lab, name: str) -> "subprocess.Popen[bytes]":
    """A run in a process of its own, once its pods are there."""
    code = "import sys; from loomidi_lab.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", name, "--no-watch", "--name", lab.name], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 90
    while len(left(lab)) < 2 and process.poll() is None:
        assert time.monotonic() < until, "the run made nothing in 90 s"
        time.sleep(0.2)
    return process


def test_a_run_that_is_terminated_takes_back_itself(cluster: Lab) -> None:
    process = start(cluster, "beacon-jittered")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert left(cluster) == []


def test_what_a_killed_run_left_is_swept_by_the_next(cluster: Lab) -> None:
    process = start(cluster, "beacon-jittered")
    process.kill()
    process.wait(10)
    assert left(cluster)
    assert sweep(cluster) == ["a run of beacon-jittered that was cut off"]
    assert left(cluster) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["syn-flood", "amplification-ntp", "slow-loris", "spoofed-victim"])
def test_an_attack_from_outside_reaches_the_shop(cluster: Lab, shop: Any, scenario: Run, name: str) -> None:
    found = scenario(name, 1)
    assert found.void_because == ""
    assert left(cluster) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["scan-nodes", "brute-force-redis", "lateral-credential-reuse", "exfiltration-bulk", "arp-spoofing"]
)
def test_an_attack_from_a_pod_really_happens(cluster: Lab, scenario: Run, name: str) -> None:
    found = scenario(name, 2)
    assert found.void_because == ""
    assert left(cluster) == []
