"""The doctor's check-up: what is required decides, what breaks is told, what can be mended names its command."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from loomidi.conductor.verbs import doctor
from loomidi.services import checkup
from loomidi.services.checkup import Check


def check(ok: bool, required: bool) -> Check:
    return Check("g", "thing", ok, required, "says", "" if ok else "mend it")


@pytest.mark.parametrize(("ok", "required", "works"), [(True, True, True), (False, False, True), (False, True, False)])
def test_only_what_is_required_decides(ok: bool, required: bool, works: bool) -> None:
    assert checkup.works([check(ok, required)]) is works


def test_a_check_that_falls_over_is_a_failed_check() -> None:
    def broken() -> Iterator[Check]:
        yield check(ok=True, required=True)
        raise OSError("gone")

    found = list(checkup._safely("main job", broken))
    assert [c.ok for c in found] == [True, False]
    assert found[-1].required
    assert "gone" in found[-1].says


def test_a_library_that_cannot_be_imported_names_the_mend() -> None:
    found = checkup._library("no_such_library", "nothing")
    assert (found.ok, found.required) == (False, True)
    assert "pip install" in found.mend


def test_an_absent_tool_is_no_fault_and_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.shutil, "which", lambda *_args, **_kwargs: None)
    tools = {c.name: c for c in checkup._tools()}
    assert tools["nmap"].mend == "sudo apt-get install -y nmap"
    assert checkup.works(list(tools.values()))


def test_every_broken_check_of_this_machine_says_why() -> None:
    assert [c.name for c in checkup.check_up() if not c.ok and not c.says] == []


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_the_main_job_works(monkeypatch: pytest.MonkeyPatch, ok: bool, code: int) -> None:
    monkeypatch.setattr(doctor, "check_up", lambda _interface: [check(ok=ok, required=True)])
    outcome = CliRunner().invoke(doctor.command, ["--json"], standalone_mode=False)
    assert outcome.return_value == code
    assert json.loads(outcome.stdout)["works"] is ok


def test_what_is_broken_is_drawn_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_up", lambda _interface: [check(ok=False, required=True)])
    outcome = CliRunner().invoke(doctor.command, [], standalone_mode=False)
    assert "thing: mend it" in outcome.stdout
    assert "does not work yet" in outcome.stdout


def test_without_a_bpf_mount_the_mount_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _path: "proc /proc proc rw 0 0\n")
    found = checkup._bpffs()
    assert (found.ok, found.mend) == (False, "sudo mount -t bpf bpf /sys/fs/bpf")
