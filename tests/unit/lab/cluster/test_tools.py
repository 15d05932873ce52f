"""What is built is fixed by content: versions, sums, where binaries go."""

from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi_lab.cluster import building, tools
from loomidi_lab.cluster.tools import MODULES


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)
def test_every_module_names_a_version_and_the_sum_of_it(module: tools.Module) -> None:
    assert f"{module.requires} {module.version} h1:" in (module.folder / "go.sum").read_text()
    assert module.version.removeprefix("v") in module.home.name


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)
def test_every_command_is_a_tool_of_its_go_mod(module: tools.Module) -> None:
    text = (module.folder / "go.mod").read_text()
    assert [package for package in module.commands.values() if package not in text] == []


def test_a_build_of_kubernetes_knows_its_version() -> None:
    flags = building.linking(MODULES["kubernetes"])
    assert f"k8s.io/component-base/version.gitVersion={MODULES['kubernetes'].version}" in flags
    assert f"gitMinor={tools.KUBERNETES.split('.')[1]}" in flags


def test_what_is_not_built_is_named_with_the_command_that_builds_it() -> None:
    with pytest.raises(EnvironmentLacks, match="kubelet is not built yet; run `loomidi-lab build`"):
        tools.binary("kubelet")
    with pytest.raises(EnvironmentLacks, match="run `loomidi-lab build --with cilium`"):
        tools.binary("cilium-agent")


def test_kubebuilder_assets_are_used_where_they_are_set(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kube-apiserver", "etcd", "kubectl"):
        (elsewhere / name).touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(elsewhere))
    assert tools.binary("etcd") == elsewhere / "etcd"
    assert "etcd" not in tools.lacking()
    assert "kubelet" in tools.lacking()


def test_incomplete_kubebuilder_assets_are_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(elsewhere))
    with pytest.raises(UsageError, match="has no kube-apiserver, etcd, kubectl; complete it, or unset"):
        tools.binary("kubelet")
