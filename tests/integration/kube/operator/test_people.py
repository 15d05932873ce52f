"""People at a real API server: what each role may do, and a Fold proposed, approved, denied, released by hand."""

import contextlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts import Mode
from loomidi.fold.operator import OwnKeys, People
from tests.integration.kube.operator.granting import grant_person
from tests.integration.kube.operator.stages import FOLDS, POLICIES, Stage
from tests.integration.kube.servers import Server

ROLES = ("viewer", "operator", "approver", "admin")
MAY = {
    "see": ROLES,
    "propose": ("operator", "admin"),
    "annotate": ("operator", "approver", "admin"),
    "delete": ("admin",),
    "make a policy": ("admin",),
    "write a status": (),
    "write a policy's status": (),
    "read secrets": (),
    "delete pods": (),
}


@pytest.fixture(scope="session")
def people(server: Server, admin: httpx.Client, folding: None) -> Iterator[dict[str, httpx.Client]]:
    for role in ROLES:
        grant_person(admin, f"loomidi-{role}", role)
    clients = {role: server.user(role) for role in ROLES}
    yield clients
    for client in clients.values():
        client.close()


def asked(stage: Stage, client: httpx.Client, what: str, fold: str) -> httpx.Response:
    """A real request; what would write is a dry run."""
    folds, policy = FOLDS.format(stage.namespace), f"{POLICIES}/{stage.namespace}"
    merge, dry = {"Content-Type": "application/merge-patch+json"}, {"dryRun": "All"}
    body = stage.room.get(f"{folds}/{fold}")
    note = {"metadata": {"annotations": {"loomidi.io/deny": "no"}}}
    kept = {"apiVersion": body["apiVersion"], "kind": "Fold", "metadata": {"name": "new"}, "spec": body["spec"]}
    made = {"apiVersion": body["apiVersion"], "kind": "FoldPolicy", "metadata": {"name": "new"}}
    made |= {"spec": {"when": {"patterns": ["*"]}, "allow": [{"kind": "SCALE_OUT"}]}}
    requests: dict[str, Any] = {
        "see": lambda: client.get(folds),
        "propose": lambda: client.post(folds, json=kept, params=dry),
        "annotate": lambda: client.patch(f"{folds}/{fold}", json=note, params=dry, headers=merge),
        "delete": lambda: client.delete(f"{folds}/{fold}", params=dry),
        "make a policy": lambda: client.post(POLICIES, json=made, params=dry),
        "write a status": lambda: client.patch(f"{folds}/{fold}/status", json={}, params=dry, headers=merge),
        "write a policy's status": lambda: client.patch(f"{policy}/status", json={}, params=dry, headers=merge),
        "read secrets": lambda: client.get(f"/api/v1/namespaces/{stage.namespace}/secrets"),
        "delete pods": lambda: client.delete(f"/api/v1/namespaces/{stage.namespace}/pods/web-0", params=dry),
    }
    answer: httpx.Response = requests[what]()
    return answer


def test_each_role_may_do_what_its_name_says_and_nothing_else(stage: Stage, people: dict[str, httpx.Client]) -> None:
    fold = stage.propose(stage.scale(), Mode.SHADOW).id
    for what, who in MAY.items():
        answers = {role: asked(stage, client, what, fold) for role, client in people.items()}
        assert {role for role, answer in answers.items() if answer.is_success} == set(who), what
        assert {answer.status_code for role, answer in answers.items() if role not in who} <= {403}, what


class Terminal:
    """The command line of one user."""

    def __init__(self, stage: Stage, user: str) -> None:
        self.stage, self.user = stage, user
        self.kubeconfig = stage.server.kubeconfig.with_name(f"{user}.kubeconfig")

    def run(self, *words: str, code: int = 0, cluster: bool = True) -> str:
        given = ["--kubeconfig", str(self.kubeconfig), "-n", self.stage.namespace] if cluster else []
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = guarded(lambda: loomidi.main(args=["fold", *words, *given], standalone_mode=False))
        assert found == code, (out.getvalue(), err.getvalue())
        return out.getvalue() + err.getvalue()

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


def says(stage: Stage, name: str, phase: str, words: str) -> None:
    """Until its status has this phase and these words."""
    until, path = time.monotonic() + 20, f"{FOLDS.format(stage.namespace)}/{name}"
    while (status := stage.room.get(path).get("status", {})).get("phase") != phase or words not in status["message"]:
        assert time.monotonic() < until, status
        time.sleep(0.05)


def approvers(tmp_path: Path, **keys: Path) -> Path:
    file = tmp_path / "approvers.yaml"
    listed = [{"name": name, "groups": ["all"], "key": key.read_text()} for name, key in keys.items()]
    file.write_text(yaml.safe_dump({"approvers": listed}))
    return file


def a_key(terminal: Terminal, tmp_path: Path) -> tuple[Path, Path]:
    """File of the key, file of its public word."""
    file, public = tmp_path / f"{terminal.user}.pem", tmp_path / f"{terminal.user}.pub"
    told = json.loads(terminal.run("keygen", str(file), "--json", cluster=False))
    public.write_text(told["key"])
    return file, public


def test_a_fold_is_proposed_approved_explained_and_released_from_the_command_line(
    stage: Stage, people: dict[str, httpx.Client], tmp_path: Path
) -> None:
    asks, signs = Terminal(stage, "operator"), Terminal(stage, "approver")
    (own, own_word), (key, word) = a_key(asks, tmp_path), a_key(signs, tmp_path)
    file = approvers(tmp_path, operator=own_word, approver=word)
    stage.policy(mode="suggest", approvals={"required": 1, "groups": ["all"]})
    target = f"workload/{stage.namespace}/web"
    with stage.operator(approvers=OwnKeys(People(file))):
        scale = ("--kind", "SCALE_OUT", "--target", target, "--replicas", "2", "--because", "the sale begins")
        name = asks.json("propose", *scale, "--mode", "suggest")["metadata"]["name"]
        says(stage, name, "Guarded", "waits for 1 more")
        asks.run("approve", name, "--key", str(own), "--yes")
        assert "lie on it and do not suffice" in signs.run("show", name)
        told = signs.run("approve", name, "--key", str(key), "--yes")
        assert f"You sign, as approver: that plan {name}" in told
        says(stage, name, "Active", "in force")
        story = signs.run("show", name)
        for words in (
            "Add 2 replicas",
            "the sale begins",
            "Allowed by all",
            "approver at",
            "the intent and its inverse",
        ):
            assert words in story
        assert "is Active: release it instead" in asks.run("deny", name, "--reason", "no", code=1)
        asks.run("release", name, "--reason", "the sale is over")
        says(stage, name, "Released", "released by a person: the sale is over")
    assert "Released by a person: the sale is over" in signs.run("list")
    assert signs.json("list")[0]["phase"] == "Released"
    assert stage.as_before()


def test_a_proposal_is_shadow_unless_said_and_can_be_denied(stage: Stage, people: dict[str, httpx.Client]) -> None:
    terminal = Terminal(stage, "operator")
    stage.policy(allow=[{"kind": "ISOLATE_POD"}])
    with stage.operator():
        why = ("--because", "it scans", "--valid", "60")
        fold = terminal.json("propose", "--kind", "ISOLATE_POD", "--target", f"pod/{stage.namespace}/web-0", *why)
        assert (fold["spec"]["mode"], fold["spec"]["match"]) == ("shadow", {"source": "10.244.0.9"})
        name = fold["metadata"]["name"]
        terminal.run("deny", name, "--reason", "it was a test")
        says(stage, name, "Denied", "denied by a person: it was a test")
    assert "there is no Fold" in terminal.run("show", "none", code=2)
    assert "it is Denied; a Fold is approved once" in terminal.run(
        "approve", name, "--key", str(_key_of(terminal, stage)), "--yes", code=1
    )
    assert stage.as_before()


def _key_of(terminal: Terminal, stage: Stage) -> Path:
    file = stage.server.kubeconfig.with_name(f"{stage.namespace}.pem")
    terminal.run("keygen", str(file), cluster=False)
    return file
