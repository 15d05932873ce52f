"""docs/kubernetes.md followed on a real cluster: every step as it stands, every line that it says is seen."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from loomidi_lab.cluster import Lab
from tests.integration.helm import charts
from tests.integration.lab.deployment.releases import comes, kernel_of, objects_of
from tests.integration.lab.walk.pages import declared, steps
from tests.integration.lab.walk.walking import Walker

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(1100)]
ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "kubernetes.md"
OURS = re.compile(r"loomidi|[ /](demo|people)(/|$)")
LEFT = {
    "crd": ("folds.loomidi.io", "foldpolicies.loomidi.io"),
    "namespace": ("demo", "people", "loomidi-system"),
    "clusterrolebinding": ("loomidi-vera", "loomidi-olga", "loomidi-alice", "loomidi-adam"),
    "clusterrole": ("loomidi-viewer", "loomidi-operator", "loomidi-approver", "loomidi-admin"),
}


@pytest.fixture
def names(imaged: Lab, tmp_path: Path) -> Mapping[str, str]:
    """What differs on the lab from what the page takes by itself."""
    return {"KUBECONFIG": str(imaged.kubeconfig), "WORK": str(tmp_path / "work")}


@pytest.fixture
def path(imaged: Lab) -> str:
    """kubectl and helm as the lab has built them, loomidi of this checkout, and nothing else but the system's."""
    folders = [Path(imaged.client()).parent, Path(charts.helm()).parent, Path(sys.executable).parent]
    return ":".join([*map(str, folders), "/usr/local/bin:/usr/bin:/bin"])


@pytest.fixture
def swept(imaged: Lab) -> Iterator[None]:
    """Whatever a page that was not followed to its end has left is told and removed, as far as it can be."""
    yield
    if imaged.api.exists("/api/v1/namespaces/loomidi-system"):
        print(imaged.kubectl("get", "folds", "--all-namespaces", "--output", "wide", check=False).stdout)
        words = ("uninstall", "loomidi", "--namespace", "loomidi-system", "--kubeconfig", str(imaged.kubeconfig))
        subprocess.run([charts.helm(), *words, "--wait"], timeout=300, check=False)
        for kind, names in LEFT.items():
            imaged.kubectl("delete", kind, *names, "--ignore-not-found", timeout_s=120, check=False)


def test_the_page_is_followed_step_by_step_and_leaves_no_trace(
    imaged: Lab, names: Mapping[str, str], path: str, tmp_path: Path, swept: None
) -> None:
    page = steps(PAGE.read_text())
    assert names.keys() <= declared(page[0]).keys()
    before = objects_of(imaged), kernel_of(imaged)
    with Walker(ROOT, tmp_path, {**names, "PATH": path}) as walker:
        for step in page:
            walker.take(step)
    comes(lambda: [one for one in objects_of(imaged) - before[0] if OURS.search(one)], lambda left: not left)
    comes(lambda: kernel_of(imaged), lambda found: found == before[1])
    assert not (tmp_path / "work").exists()
