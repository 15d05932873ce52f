"""A FoldPolicy promoted at a real API server, by somebody with the shipped role: refused, on record, and taken back."""

import contextlib
import io
import json
from typing import Any

import httpx
import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts import Mode
from tests.integration.kube.operator.granting import grant_person
from tests.integration.kube.operator.stages import POLICIES, Stage
from tests.integration.kube.servers import Server


@pytest.fixture
def admin_user(server: Server, admin: httpx.Client, folding: None) -> str:
    grant_person(admin, "loomidi-admin", "promoter")
    server.user("promoter").close()
    return str(server.kubeconfig.with_name("promoter.kubeconfig"))


def run(*words: str, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = guarded(lambda: loomidi.main(args=[*words], standalone_mode=False))
    assert found == code, (out.getvalue(), err.getvalue())
    return out.getvalue() + err.getvalue()


def policy(stage: Stage) -> Any:
    return stage.room.get(f"{POLICIES}/{stage.namespace}")


def test_a_policy_that_is_new_is_not_promoted_but_by_an_override_on_record(stage: Stage, admin_user: str) -> None:
    stage.policy(mode="shadow", replay={"required": True})
    with stage.operator():
        stage.reaches(stage.propose(stage.scale(), Mode.SHADOW), "Guarded")
    where = ("--kubeconfig", admin_user)
    told = json.loads(run("fold", "report", "--policy", stage.namespace, *where, "--json", code=1))
    assert (told["judged"], told["would"], told["acted"], told["ready"]) == (1, 1, 0, False)
    assert "of 7 days" in run("policy", "promote", stage.namespace, "--to", "guarded", *where, code=1)
    assert policy(stage)["spec"]["mode"] == "shadow"
    run("policy", "promote", stage.namespace, "--to", "guarded", "--override", "the drill", *where)
    notes = policy(stage)["metadata"]["annotations"]
    assert (policy(stage)["spec"]["mode"], notes["loomidi.io/promotion-override"]) == ("guarded", "the drill")
    assert len(notes["loomidi.io/promotion-report"]) == 64
    assert "by promoter at" in notes["loomidi.io/promoted"]
    run("policy", "promote", stage.namespace, "--to", "shadow", *where)
    assert policy(stage)["spec"]["mode"] == "shadow"


def test_a_fold_that_cannot_say_what_it_would_have_cut_is_denied_where_its_policy_asks(stage: Stage) -> None:
    stage.policy(replay={"required": True})
    with stage.operator():
        plan = stage.propose(stage.scale())
        stage.reaches(plan, "Denied")
    assert "what it would have cut is not known" in stage.status(plan)["message"]
    assert stage.as_before()
