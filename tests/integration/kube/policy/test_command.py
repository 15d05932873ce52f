"""Kyverno policies judged by the real `kyverno` command, and the whole service over it and a real API server."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import EnvironmentLacks
from loomidi.ionic.errors import BadPolicy, PolicyBreaks
from loomidi.ionic.policies import Judge, JudgeSettings, Policy
from loomidi.ionic.policies.records import Shadow
from loomidi_lab.cluster import tools
from tests.integration.kube.policy.stages import Stage
from tests.integration.kube.servers import Server
from tests.integration.policy.running import Service
from tests.rungs import ran
from tests.unit.ionic.policies.ruling import kyverno, manifest

pytestmark = pytest.mark.lab_long  # the command is built by `make lab-test`
Object = dict[str, Any]
EVERYWHERE = {"spec": {"containers": [{"=(securityContext)": {"=(privileged)": "false"}}]}}


@pytest.fixture(scope="session")
def command() -> Path:
    """The one in PATH; else the lab's, where it is built (`loomidi-lab build --with kyverno`)."""
    found = shutil.which("kyverno")
    try:
        return Path(found) if found else tools.binary("kyverno")
    except (EnvironmentLacks, StopIteration) as error:
        pytest.skip(f"no `kyverno` command here: {error or 'this lab does not build it'}")


@pytest.fixture(scope="session")
def judge(command: Path) -> Judge:
    return Judge(JudgeSettings(command))


def judged(judge: Judge, made: Object) -> Shadow:
    found = judge.judge(policy(made))
    ran("kyverno", found.engines[0].partition(" ")[2] or "its command")
    return found


def policy(made: Object) -> Policy:
    return kyverno(made, made["metadata"]["name"])


def privileged(action: str = "Enforce", **exclude: Any) -> Object:
    made = manifest("no-privileged")
    made["spec"]["rules"][0]["validate"] |= {"pattern": EVERYWHERE, "failureAction": action}
    made["spec"]["rules"][0] |= {"exclude": exclude} if exclude else {}
    return made


def validating(expression: str) -> Object:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    validations = [{"expression": expression, "message": "no"}]
    spec = {"matchConstraints": {"resourceRules": rules}, "validations": validations}
    return {
        "apiVersion": "policies.kyverno.io/v1",
        "kind": "ValidatingPolicy",
        "metadata": {"name": "cel"},
        "spec": spec,
    }


def test_a_policy_that_leaves_the_protected_alone_is_accepted_and_refuses_what_the_library_refuses(
    judge: Judge,
) -> None:
    found = judged(judge, manifest())
    assert found.refused_refused >= 1
    assert (found.warned, found.asked > 100) == ((), True)


def test_a_policy_that_would_refuse_the_cluster_is_refused_unless_it_leaves_it_out(judge: Judge) -> None:
    with pytest.raises(PolicyBreaks) as raised:
        judged(judge, privileged())
    assert any("kube-system/kube-proxy" in line for line in raised.value.refused)
    audited = privileged("Audit")["spec"]["rules"][0] | {"name": "first"}
    with pytest.raises(PolicyBreaks):  # though the command calls it a warning, by the first rule
        judged(judge, privileged() | {"spec": {"rules": [audited, *privileged()["spec"]["rules"]]}})
    assert judged(judge, privileged(any=[{"resources": {"namespaces": ["kube-system"]}}])).refused_refused >= 1


def test_one_that_only_reports_a_protected_object_is_warned_of_it(judge: Judge) -> None:
    assert any("kube-system/kube-proxy" in line for line in judged(judge, privileged("Audit")).warned)


def test_a_validating_policy_is_judged_by_its_expressions(judge: Judge) -> None:
    assert judged(judge, validating("!has(object.spec.hostPID) || !object.spec.hostPID")).refused_refused >= 1
    with pytest.raises(PolicyBreaks, match="must never be refused"):
        judged(judge, validating("!has(object.spec.hostNetwork) || !object.spec.hostNetwork"))


def slipped() -> Object:
    made = manifest("slip")
    made["spec"]["rules"][0]["validate"]["pattern"] = {"spec": {"hostPID": "{{ nope. }}"}}
    return made


@pytest.mark.parametrize("made", [validating("this is no CEL"), slipped()], ids=["CEL", "a variable"])
def test_what_kyverno_cannot_use_is_told_in_its_words(judge: Judge, made: Object) -> None:
    with pytest.raises(BadPolicy, match="kyverno does not take it"):
        judged(judge, made)


@pytest.fixture
def service(command: Path, server: Server, stage: Stage, tmp_path: Path) -> Iterator[Service]:
    options = ("--kyverno", str(command), "--kubeconfig", str(server.kubeconfig.with_name("loomidi-policy.kubeconfig")))
    found = Service(tmp_path / "service", options=options)
    found.folder.mkdir()
    yield found.start()
    found.kill()


def test_the_whole_way_of_a_kyverno_policy(service: Service, stage: Stage) -> None:
    made = policy(manifest("whole-way"))
    told = threading.Event()

    def in_the_place_of_a_kyverno() -> None:
        while not told.wait(0.05):
            stage.say(made, ready=True)

    saying = threading.Thread(target=in_the_place_of_a_kyverno)
    saying.start()
    answer = service.deploy("whole-way", json.dumps(manifest("whole-way")), "Kyverno", "decision-7")
    told.set()
    saying.join()
    assert (answer.status_code, answer.json().get("status")) == (200, "Active"), answer.text
    assert stage.found(made) is not None
    assert (
        service.deploy("priv", json.dumps(privileged() | {"metadata": {"name": "priv"}}), "Kyverno").status_code == 422
    )
    with service.client() as client:
        assert client.post("/policy/whole-way/rollback", json={}).json()["status"] == "Inactive"
    assert stage.found(made) is None
