"""What can be known before anything is made is refused with one line that says what to do, and nothing is made."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from loomidi.contracts.errors import Conflict, EnvironmentLacks, LoomidiError, UsageError
from loomidi_lab.cluster import UpSettings, building, cgroups, commands, places, raising, tools, up
from loomidi_lab.cluster.handle import Lab

Disk = namedtuple("Disk", "total used free")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; as if by root, with every tool there."""
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(cgroups, "check", lambda: None)
    return tmp_path


def refusal(kind: type[LoomidiError], settings: UpSettings) -> str:
    with pytest.raises(kind) as caught:
        up(settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (UpSettings(nodes=0), "use 1 to"),
        (UpSettings(nodes=1000), "use 1 to"),
        (UpSettings(network="flannel"), "use bridge or cilium"),
        (UpSettings(fake_nodes=-1), "fake nodes"),
        (UpSettings(api_port=0), "1 to 65535"),
        (UpSettings(name="Two Words"), "no name for a lab"),
        (UpSettings(range="10.0.0.0/8"), "such as 10.88.0.0/15"),
    ],
)
def test_bad_settings_are_refused(settings: UpSettings, says: str, elsewhere: Path) -> None:
    message = refusal(UsageError, settings)
    assert says in message
    assert "\n" not in message
    assert list(elsewhere.iterdir()) == []


def test_a_port_that_the_control_plane_uses_is_refused_with_its_user(elsewhere: Path) -> None:
    assert "2379 is used by etcd" in refusal(Conflict, UpSettings(api_port=2379))
    assert list(elsewhere.iterdir()) == []


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in refusal(EnvironmentLacks, UpSettings())
    assert list(elsewhere.iterdir()) == []


def test_missing_tools_are_named_by_package_with_the_command_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("runc", "nft") else name)
    message = refusal(EnvironmentLacks, UpSettings())
    assert "nftables, runc" in message
    assert "tools/install_ebpf_deps.sh --lab" in message


def test_less_than_5_gb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 10**12, 4_200_000_000))
    message = refusal(EnvironmentLacks, UpSettings())
    assert "4.2 GB free" in message
    assert "LOOMIDI_LAB_CACHE" in message


def test_what_is_not_built_is_named_with_the_command_that_builds_it() -> None:
    message = refusal(EnvironmentLacks, UpSettings())
    assert "kubelet" in message
    assert "`loomidi-lab build`" in message


def test_missing_cgroup_controllers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cgroups, "unified", lambda: False)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [tmp_path / "cpu", tmp_path / "pids"])
    with pytest.raises(EnvironmentLacks, match="no cgroup controller cpuset, memory here"):
        cgroups.check()


def test_a_folder_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path / ("x" * 80)))
    monkeypatch.setattr(tools, "lacking", lambda optional=(): [])
    monkeypatch.setattr(building, "pause", lambda: tmp_path)
    assert "too long for sockets" in refusal(EnvironmentLacks, UpSettings())


def test_a_lab_that_is_not_up_says_how_to_bring_it_up() -> None:
    with pytest.raises(EnvironmentLacks, match="run `loomidi-lab up --name other` first"):
        Lab.open("other")


@pytest.mark.parametrize(("version", "says"), [("", "too old"), ("go1.19.8", "too old"), ("go1.26.8", "")])
def test_go_must_be_new_enough(version: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = namedtuple("Done", "stdout")(version)
    monkeypatch.setattr(building.subprocess, "run", lambda *_, **__: done)
    if not says:
        building.check_go()
        return
    with pytest.raises(EnvironmentLacks, match=f"{says}.* Go 1.26 or newer"):
        building.check_go()


def test_without_go_it_says_what_it_is_needed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EnvironmentLacks, match="Go is missing: the lab builds Kubernetes"):
        building.check_go()


def test_two_ups_at_once_are_kept_apart() -> None:
    lab = places.place("twice")
    with (
        raising.locked(lab),
        pytest.raises(Conflict, match="another loomidi-lab works on lab twice"),
        raising.locked(lab),
    ):
        pass


def test_a_lab_that_is_not_up_names_those_that_are() -> None:
    other = places.place("left").state
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    with pytest.raises(
        EnvironmentLacks, match="no lab is up; run `loomidi-lab up` first, or name one with --name: left"
    ):
        Lab.open()


def test_a_lab_that_is_being_brought_up_is_busy_and_not_damaged() -> None:
    lab = places.place("left")
    lab.folder.mkdir(parents=True)
    with raising.locked(lab):
        assert commands._status("left")["condition"] == "busy"
        assert CliRunner().invoke(commands.status, standalone_mode=False).return_value == 1


def test_the_logs_of_a_lab_that_is_damaged_can_be_read() -> None:
    logs = places.place("left").folder / "logs"
    logs.mkdir(parents=True)
    (logs / "kube-apiserver.log").write_text("one\nwhy it ended\n")
    done = CliRunner().invoke(commands.logs, ["--name", "left", "kube-apiserver", "-n", "1"])
    assert done.output == "why it ended\n"


def test_looking_whether_a_lab_runs_makes_nothing() -> None:
    """It may be going down at this moment, and its folder with it."""
    assert not raising.running(places.place("left"))
    state = places.place("left").state
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    assert not raising.running(places.place("left"))
    assert [path.name for path in state.parent.iterdir()] == [state.name]
