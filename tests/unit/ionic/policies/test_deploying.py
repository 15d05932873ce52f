"""A change is written down with its inverse before it is made; whatever fails is taken back; a kill leaves no trace."""

import os
import signal
from pathlib import Path

import pytest

from loomidi.contracts import LoomidiError
from loomidi.ionic.errors import BadPolicy, BadStore, EngineAway, PolicyHeld, PolicyNotInForce
from loomidi.ionic.policies import FAULTS, Asker, PolicyType, Shelf, read_policy
from tests.unit.ionic.policies.ruling import ASKER, Bench, kyverno, manifest, rego

LATEST, EDGE = rego(), rego(":edge")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_policy_is_judged_kept_put_in_force_and_read_back(bench: Bench) -> None:
    version, unchanged = bench.deployer.deploy(LATEST, ASKER)
    assert (version.number, version.author, version.decisions, unchanged) == (1, "local", ("decision-1",), False)
    assert bench.judge.asked == [LATEST.digest]
    assert bench.engine.texts == {"no-latest/": LATEST.content}
    assert bench.standing() == "Active"


def test_the_same_text_again_changes_nothing_and_keeps_the_decision(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    version, unchanged = bench.deployer.deploy(LATEST, Asker("token 1", "decision-2"))
    assert (version.number, version.author, unchanged) == (1, "local", True)
    assert version.decisions == ("decision-1", "decision-2")
    assert (len(bench.judge.asked), len(bench.shelf.steps("no-latest"))) == (1, 1)


def test_the_same_text_again_mends_what_somebody_changed_in_the_engine(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.engine.texts["no-latest/"] = "package other"
    assert bench.standing() == "Error"
    bench.deployer.deploy(LATEST, ASKER)
    assert (bench.standing(), bench.engine.texts["no-latest/"]) == ("Active", LATEST.content)


def test_every_version_is_kept_with_who_and_when(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.clock.sleep(5)
    bench.deployer.deploy(EDGE, Asker("token 1", ""))
    first, second = bench.shelf.versions("no-latest")
    assert (first.content, second.content, second.author) == (LATEST.content, EDGE.content, "token 1")
    assert second.at_ns - first.at_ns == 5_000_000_000


def test_what_does_not_come_into_force_is_taken_back_and_the_reasons_are_kept(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.engine.deaf = True
    with pytest.raises(PolicyNotInForce, match="was taken back: the engine does not follow"):
        bench.deployer.deploy(EDGE, ASKER)
    bench.engine.deaf = False
    assert bench.engine.texts == {"no-latest/": LATEST.content}
    assert (bench.standing(), bench.shelf.in_force("no-latest")) == ("Active", 1)
    assert bench.shelf.steps("no-latest")[-1].reasons == ("the engine does not follow",)


def test_a_first_version_that_fails_is_an_error_with_its_reasons(bench: Bench) -> None:
    bench.engine.strict = True
    with pytest.raises(BadPolicy, match="does not like it"):
        bench.deployer.deploy(LATEST, ASKER)
    status = bench.deployer.status("no-latest")
    assert status is not None
    assert (status.standing.value, status.reasons) == ("Error", ("line 1: the engine does not like it",))


def test_an_engine_that_goes_away_in_the_middle_leaves_a_step_that_is_taken_back_later(tmp_path: Path) -> None:
    def away(name: str) -> None:
        bench.engine.away = name == "applied_unverified"

    bench = Bench(tmp_path, away)
    with pytest.raises(EngineAway):
        bench.deployer.deploy(LATEST, ASKER)
    assert bench.standing() == "Error"
    with pytest.raises(EngineAway, match="is not taken back yet"):
        bench.deployer.deploy(LATEST, ASKER)
    bench.engine.away = False
    assert bench.deployer.settle() == 1
    assert (bench.engine.texts, bench.shelf.in_force("no-latest")) == ({}, 0)


def test_an_engine_that_cannot_be_asked_is_an_error_and_not_active(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.engine.away = True
    status = bench.deployer.status("no-latest")
    assert status is not None
    assert (status.standing.value, "cannot be read back" in status.reasons[0]) == ("Error", True)


def test_without_an_engine_a_policy_is_judged_kept_and_inactive(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=False)
    assert [bench.deployer.deploy(LATEST, ASKER)[1] for _ in range(2)] == [False, True]
    assert (bench.standing(), bench.shelf.steps("no-latest")) == ("Inactive", [])


def test_back_goes_to_the_version_before_and_then_out_of_force(bench: Bench) -> None:
    for policy in (LATEST, EDGE):
        bench.deployer.deploy(policy, ASKER)
    assert bench.deployer.rollback("no-latest", None, ASKER) == 1
    assert (bench.engine.texts["no-latest/"], bench.standing()) == (LATEST.content, "Active")
    assert bench.deployer.rollback("no-latest", None, ASKER) == 0
    assert (bench.engine.texts, bench.standing()) == ({}, "Inactive")
    with pytest.raises(PolicyHeld, match="nothing to take back"):
        bench.deployer.rollback("no-latest", None, ASKER)
    assert bench.deployer.rollback("no-latest", 2, ASKER) == 2


def test_a_version_that_never_was_in_force_is_judged_before_it_is_gone_to(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.engine.strict = True
    with pytest.raises(BadPolicy):
        bench.deployer.deploy(EDGE, ASKER)
    bench.engine.strict = False
    bench.deployer.rollback("no-latest", 2, ASKER)
    assert bench.judge.asked == [LATEST.digest, EDGE.digest, EDGE.digest]


def test_a_name_in_force_does_not_become_another_kind_of_policy(bench: Bench) -> None:
    bench.deployer.deploy(rego(name="x"), ASKER)
    with pytest.raises(PolicyHeld, match="another kind of policy"):
        bench.deployer.deploy(kyverno(name="x"), ASKER)
    document = manifest("y")
    bench.deployer.deploy(kyverno(document, "y"), ASKER)
    document = document | {"kind": "Policy", "metadata": {"name": "y", "namespace": "shop"}}
    with pytest.raises(PolicyHeld, match="another namespace"):
        bench.deployer.deploy(kyverno(document, "y"), ASKER)


def test_an_engine_that_forgot_is_given_what_is_in_force_and_nothing_else(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.deployer.deploy(rego(name="other", package="other"), ASKER)
    bench.deployer.rollback("other", 0, ASKER)
    assert bench.deployer.tend() == []
    bench.engine.texts.clear()
    assert bench.deployer.tend() == ["no-latest"]
    assert bench.shelf.steps("no-latest")[-1].author == "loomidi"
    bench.engine.texts["no-latest/"] = "somebody else's"
    assert bench.deployer.tend() == []
    assert bench.standing() == "Error"


def test_what_an_engine_does_not_take_again_is_left_for_a_while(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    bench.engine.texts.clear()
    bench.engine.strict = True
    assert [bench.deployer.tend() for _ in range(5)] == [[]] * 5
    assert len(bench.shelf.steps("no-latest")) == 2
    bench.engine.strict = False
    bench.clock.sleep(301)
    assert bench.deployer.tend() == ["no-latest"]


def test_packages_in_force_are_known_with_their_rules(bench: Bench) -> None:
    assert bench.deployer.packages() == {}
    bench.deployer.deploy(LATEST, ASKER)
    assert bench.deployer.packages() == {"shop/images": ("no-latest", ("deny",))}


class Killed(BaseException):
    """As a process that ends here: no handler of ours sees it."""


@pytest.mark.parametrize("at", FAULTS)
@pytest.mark.parametrize("before", [None, LATEST], ids=["the first version", "a second version"])
def test_killed_anywhere_engine_and_shelf_agree_after_the_next_start(tmp_path: Path, at: str, before: object) -> None:
    def kill(name: str) -> None:
        if name == at:
            raise Killed

    first = Bench(tmp_path)
    if before:
        first.deployer.deploy(LATEST, ASKER)
    first.deployer._fault = kill
    first.engine.deaf = at.startswith("undone")
    with pytest.raises(Killed):
        first.deployer.deploy(EDGE, ASKER)
    first.shelf.close()
    second = Bench(tmp_path)
    second.engine.texts = first.engine.texts
    second.deployer.settle()
    expected = {"recorded": EDGE.content}.get(at, LATEST.content if before else None)
    assert second.engine.texts.get("no-latest/") == expected
    assert second.shelf.open_steps() == []
    number = second.shelf.in_force("no-latest")
    found = second.shelf.version("no-latest", number)
    assert (found.content if found else None) == expected
    assert second.deployer.deploy(EDGE, ASKER)[0].content == EDGE.content
    assert second.standing() == "Active"


def test_a_store_of_a_killed_process_is_whole_and_is_let_go_of(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        bench = Bench(tmp_path)
        bench.deployer.deploy(LATEST, ASKER)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    shelf = Shelf(tmp_path / "policies.sqlite")
    assert shelf.in_force("no-latest") == 1
    shelf.close()


def test_a_second_service_on_one_folder_is_refused(bench: Bench) -> None:
    with pytest.raises(PolicyHeld, match="another policy service has it"):
        Shelf(bench.shelf.path)


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "policies.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(BadStore, match="cannot be read as a store"):
        Shelf(tmp_path / "policies.sqlite")


def test_versions_and_ended_steps_cannot_be_changed(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    for change in ("UPDATE versions SET content = ''", "DELETE FROM versions", "UPDATE steps SET state = 'begun'"):
        with pytest.raises(Exception, match=r"append only|ends once"):
            bench.shelf._base.execute(change)


def test_one_change_of_a_name_at_a_time(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    step = bench.shelf.steps("no-latest")[0]
    bench.shelf.begin(step)
    with pytest.raises(PolicyHeld, match="under way"):
        bench.shelf.begin(step)


def test_a_store_that_is_full_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    monkeypatch.setattr("loomidi.ionic.policies.shelves.MOST_NAMES", 1)
    monkeypatch.setattr("loomidi.ionic.policies.shelves.MOST_VERSIONS", 1)
    with pytest.raises(PolicyHeld, match="take another name"):
        bench.deployer.deploy(EDGE, ASKER)
    with pytest.raises(PolicyHeld, match="1 policies are kept"):
        bench.deployer.deploy(rego(name="other"), ASKER)
    assert bench.deployer.deploy(LATEST, ASKER)[1]


def test_an_unknown_version_is_told(bench: Bench) -> None:
    bench.deployer.deploy(LATEST, ASKER)
    with pytest.raises(LoomidiError, match="has no version 7"):
        bench.deployer.rollback("no-latest", 7, ASKER)
    assert bench.deployer.status("unknown") is None
    assert read_policy("a", PolicyType.REGO, LATEST.content).name == "a"
