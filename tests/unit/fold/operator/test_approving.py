"""People: who may approve what, for how long, and that nothing else counts."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from loomidi.contracts import Mode
from loomidi.crypt.keys import SigningKey
from loomidi.fold.operator import OwnKeys, People, signed_note, statement
from loomidi.fold.operator.errors import BadApprovers, NotApprovable
from loomidi.fold.operator.people import read_people
from loomidi.fold.operator.views import View
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import plan_of
from tests.unit.fold.operator.fakes import POLICY, Stage, a_stage
from tests.unit.ionic.making import a_finding, a_plan

KEYS = {name: SigningKey.new() for name in ("alice", "bob", "carol")}
WHY = " (mode suggest: a person has to approve)"
GROUPS = {"alice": ["security"], "bob": ["security", "on-call"], "carol": ["on-call"]}


def listed(file: Path, *names: str, **more: Any) -> Path:
    people = [{"name": name, "groups": GROUPS[name], "key": KEYS[name].public.word} | more for name in names]
    file.write_text(yaml.safe_dump({"approvers": people}))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return listed(tmp_path / "approvers.yaml", *KEYS)


def policy_asking(**approvals: Any) -> dict[str, Any]:
    policy = copy.deepcopy(POLICY)
    policy["spec"]["approvals"] = {"required": 1} | approvals
    return policy


def waiting(file: Path, plan: Any = None, **approvals: Any) -> Stage:
    """A Fold that waits for people, as this policy asks for them."""
    stage = a_stage(Mode.SUGGEST, plan=plan, approvers=OwnKeys(People(file)))
    stage.policies = [policy_asking(**approvals)]
    stage.until("Guarded")
    stage.once()
    return stage


def said(stage: Stage, who: str, lasts_s: float = 50.0) -> dict[str, Any]:
    view, now_ns = View(stage.fold), stage.clock.now_ns()
    return statement(view, plan_of(stage.fold), who, now_ns, now_ns + round(lasts_s * 1e9))


def approve(stage: Stage, who: str, **changed: Any) -> None:
    name, text = signed_note(said(stage, who) | changed, KEYS[who])
    stage.note({name: text})


def message(stage: Stage) -> str:
    return str(stage.fold["status"]["message"])


def test_a_person_approves_with_their_own_key(file: Path) -> None:
    stage = waiting(file)
    assert message(stage) == f"waits for 1 more of 1 approvals by persons{WHY}"
    approve(stage, "alice")
    stage.until("Active")
    (kept,) = stage.fold["status"]["approvals"]
    assert (kept["approver"], len(kept["signature"])) == ("alice", 128)


@pytest.mark.parametrize(
    "changed",
    [
        {"approver": "bob"},
        {"plan": {"id": "plan-other", "hash": "0"}},
        {"target": {"uid": "u2", "resourceVersion": ""}},
        {"target": {"uid": "u1", "resourceVersion": "7"}},
        {"fold": {"key": "default/other", "uid": ""}},
        {"expiresTime": "2020-01-01T00:00:00Z"},
        {"expiresTime": "soon"},
        {"more": 1},
    ],
)
def test_an_approval_of_anything_else_counts_for_nothing(file: Path, changed: dict[str, Any]) -> None:
    stage = waiting(file)
    approve(stage, "alice", **changed)
    stage.until("Expired")
    assert not stage.driver.world


def test_a_key_that_is_not_listed_counts_for_nothing(tmp_path: Path) -> None:
    stage = waiting(listed(tmp_path / "bob.yaml", "bob"))
    approve(stage, "alice")
    name, text = signed_note(said(stage, "bob"), KEYS["alice"])
    stage.note({name.replace(KEYS["alice"].public.id, KEYS["bob"].public.id): text})
    stage.until("Expired")


def test_an_approval_ends_when_it_says(file: Path) -> None:
    stage = waiting(file)
    stage.note(dict([signed_note(said(stage, "alice", lasts_s=2), KEYS["alice"])]))
    stage.clock.sleep(3)
    stage.until("Expired")


def test_an_approval_is_of_the_target_as_it_was_judged(file: Path) -> None:
    stage = waiting(file)
    approve(stage, "alice")
    changed = stage.fold["status"] | {"target": {"uid": "u1", "resourceVersion": "8"}}
    stage.cluster.put(stage.path, stage.fold | {"status": changed})
    stage.once()
    assert message(stage).startswith("waits for 1 more")


def test_so_many_different_people_as_the_policy_says(file: Path) -> None:
    stage = waiting(file, required=2)
    approve(stage, "alice")
    stage.once()
    assert message(stage) == f"waits for 1 more of 2 approvals by persons{WHY}"
    approve(stage, "carol")
    stage.until("Active")
    assert [one["approver"] for one in stage.fold["status"]["approvals"]] == ["alice", "carol"]


def test_more_approvals_than_are_asked_for_are_no_hindrance(file: Path) -> None:
    stage = waiting(file)
    for who in KEYS:
        approve(stage, who)
    stage.until("Active")
    assert [one["approver"] for one in stage.fold["status"]["approvals"]] == ["alice"]


@pytest.mark.parametrize("how", ["annotation", "finding"])
def test_who_asked_for_it_may_not_approve_it(file: Path, how: str) -> None:
    asked = a_plan("drop", Mode.SUGGEST, finding=a_finding(source="person/alice"))
    stage = waiting(file, plan=asked if how == "finding" else None)
    if how == "annotation":
        stage.note({"loomidi.io/requested-by": "alice"})
    approve(stage, "alice")
    stage.once()
    assert stage.phase == "Guarded"
    approve(stage, "bob")
    stage.until("Active")


def test_only_people_of_the_policys_groups_and_later_those_it_is_handed_to(file: Path) -> None:
    stage = waiting(file, groups=["security"], escalateTo=["on-call"], timeoutSeconds=20)
    approve(stage, "carol")
    stage.once()
    assert message(stage) == f"waits for 1 more of 1 approvals by persons of security{WHY}"
    stage.clock.sleep(20)
    stage.until("Active")


def test_what_nobody_approves_expires_after_twice_the_time(file: Path) -> None:
    stage = waiting(file, groups=["security"], escalateTo=["on-call"], timeoutSeconds=10)
    stage.clock.sleep(10)
    stage.once()
    assert message(stage).endswith(f"of on-call, security{WHY}")
    stage.clock.sleep(10)
    stage.once()
    assert (stage.phase, message(stage)) == (
        "Expired",
        "1 more of 1 approvals by persons of on-call, security did not come within 20 s",
    )


def test_a_file_that_changes_is_read_again_and_one_that_breaks_lets_nobody_approve(file: Path) -> None:
    people = People(file)
    assert people.with_key(KEYS["alice"].public.id) is not None
    listed(file, "bob")
    os.utime(file, ns=(1, 1))
    assert people.with_key(KEYS["alice"].public.id) is None
    file.write_text("approvers: 7")
    assert people.with_key(KEYS["bob"].public.id) is None
    file.unlink()
    assert people.with_key(KEYS["bob"].public.id) is None
    listed(file, "alice")
    assert people.with_key(KEYS["alice"].public.id) is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no list `approvers`"),
        ("approvers: {}", "no list `approvers`"),
        ("approvers: [{name: a}]", r"approvers\[0\]: give name, groups and key"),
        ("approvers: [{name: a, key: b, mail: c}]", "nothing else"),
        ("approvers: [{name: a, key: b}]", r"approvers\[0\].key: 'b' is no public key"),
        ("approvers: [{name: guards, key: b}]", "other than guards"),
        ("approvers: [{name: a, groups: b, key: c}]", "a list of names"),
        ("a: [", "not YAML"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "approvers.yaml"
    file.write_text(text)
    with pytest.raises(BadApprovers, match=why):
        read_people(file)


@pytest.mark.parametrize("same", ["name", "key"])
def test_two_of_one_name_or_of_one_key_are_not_two_people(tmp_path: Path, same: str) -> None:
    shared = {"name": "x"} if same == "name" else {"key": KEYS["bob"].public.word}
    with pytest.raises(BadApprovers, match=f"the {same} of .* is there twice"):
        read_people(listed(tmp_path / "approvers.yaml", "alice", "bob", **shared))


def test_a_fold_that_was_not_judged_yet_cannot_be_approved() -> None:
    stage = a_stage(Mode.SUGGEST)
    with pytest.raises(NotApprovable, match="once every guard has said yes"):
        said(stage, "alice")
    stage.until("Expired")
    with pytest.raises(NotApprovable, match="it is Expired"):
        said(stage, "alice")


def worth(stage: Stage, file: Path) -> dict[str, str]:
    """What each word on the Fold is worth now: why not, by who said it."""
    heard = OwnKeys(People(file)).heard(View(stage.fold), plan_of(stage.fold), stage.clock.now_ns())
    return {one.approver: one.why for one in heard}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"approver": "bob"}, "signed in another name"),
        ({"plan": {"id": "plan-other", "hash": "0"}}, "what was approved has changed"),
        ({"target": {"uid": "u2", "resourceVersion": ""}}, "another target"),
        ({"target": {"uid": "u1", "resourceVersion": "7"}}, "at another version"),
        ({"fold": {"key": "default/other", "uid": ""}}, "another Fold"),
        ({"expiresTime": "2020-01-01T00:00:00.000000000Z"}, "void since 2020-01-01"),
        ({"expiresTime": "soon"}, "cannot be read"),
        ({"grantedTime": "2099-01-01T00:00:00.000000000Z"}, "has not come"),
        ({"more": 1}, "says more"),
    ],
)
def test_what_counts_for_nothing_says_why(file: Path, changed: dict[str, Any], why: str) -> None:
    stage = waiting(file)
    approve(stage, "alice", **changed)
    assert why in worth(stage, file)["alice"]


def test_a_changed_plan_voids_what_was_approved(file: Path) -> None:
    stage = waiting(file, required=2)
    approve(stage, "alice")
    longer = a_plan("drop", Mode.SUGGEST, finding=a_finding(confidence=0.99))
    spec = fold_object(longer, "default")["spec"]
    stage.cluster.put(stage.path, stage.fold | {"spec": spec})
    assert "what was approved has changed" in worth(stage, file)["alice"]


def test_a_key_that_is_not_listed_is_heard_and_refused(file: Path, tmp_path: Path) -> None:
    stage = waiting(file)
    approve(stage, "alice")
    others = listed(tmp_path / "bob.yaml", "bob")
    assert worth(stage, others) == {"": "its key is not in the list of approvers"}


def test_names_that_differ_in_case_are_one_person(tmp_path: Path) -> None:
    people = [{"name": name, "key": KEYS[of].public.word} for name, of in (("Alice", "alice"), ("alice ", "bob"))]
    file = tmp_path / "approvers.yaml"
    file.write_text(yaml.safe_dump({"approvers": people}))
    with pytest.raises(BadApprovers, match="is there twice"):
        read_people(file)
