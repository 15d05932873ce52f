"""The contracts of `.importlinter` hold, and they bite: each forbidden import is tried and must break the check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSES = {"conductor", "services", "fold", "insight", "ionic", "origami", "garden", "loom", "crypt", "contracts", "kit"}
ORIGAMI = ("model", "scoring", "online", "features", "train")
LANES = ("agents/agent", "analyzing", "fast/tuning", "folds/planning", "incidents", "pipeline", "watching")
ROOMS = ("parts", "anomalies", "folds", "shared", "settings")  # of services, the later may not import the earlier
INNER = (
    *("ionic/decide", "ionic/act", "ionic/playbooks"),
    *(f"origami/{part}" for part in ORIGAMI),
    *(f"services/{room}" for room in ROOMS),
)
HEAVY = ("torch", "mlflow", "ray", "river", "kopf", "kubernetes", "cryptography", "pyswip")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the package under `root`."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """An empty street of houses under the real contracts."""
    (tmp_path / ".importlinter").write_text((ROOT / ".importlinter").read_text())
    for house in (*HOUSES, *INNER):
        (tmp_path / "src" / "loomidi" / house).mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / "loomidi" / house / "__init__.py").write_text("")
    (tmp_path / "src" / "loomidi" / "__init__.py").write_text("")
    (tmp_path / "src" / "loomidi" / "__main__.py").write_text("")
    for lane in LANES:
        path = tmp_path / "src" / "loomidi" / "services" / f"{lane}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        path.with_name("__init__.py").touch()
    return tmp_path


def test_the_street_of_houses_is_the_one_of_the_design() -> None:
    found = {path.parent.name for path in (ROOT / "src" / "loomidi").glob("*/__init__.py")}
    assert found == HOUSES


def test_the_contracts_hold_for_this_tree() -> None:
    outcome = lint(ROOT)
    assert outcome.returncode == 0, outcome.stdout


def test_an_empty_street_passes(street: Path) -> None:
    assert lint(street).returncode == 0


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("kit/x.py", "import loomidi.contracts"),
        ("loom/x.py", "import loomidi.origami"),
        ("fold/x.py", "import loomidi.insight"),
        ("ionic/decide/x.py", "import loomidi.ionic.act"),
        ("ionic/playbooks/x.py", "import loomidi.ionic.act"),
        ("ionic/decide/y.py", "import loomidi.ionic.playbooks"),
        ("services/x.py", "import loomidi.conductor"),
        ("services/analyzing.py", "import loomidi.ionic.act"),
        ("services/watching.py", "import loomidi.ionic.act"),
        ("services/pipeline.py", "import loomidi.ionic.act"),
        ("contracts/x.py", "import ctypes"),
        ("services/settings/x.py", "import loomidi.services.shared"),
        ("services/folds/x.py", "import loomidi.services.anomalies"),
        *((f"services/{name}_user.py", f"import {name}") for name in HEAVY),
    ],
)
def test_each_forbidden_import_breaks_the_check(street: Path, module: str, line: str) -> None:
    (street / "src" / "loomidi" / module).write_text(line + "\n")
    assert lint(street).returncode == 1


def test_a_house_that_is_not_listed_breaks_the_check(street: Path) -> None:
    (street / "src" / "loomidi" / "shed").mkdir()
    (street / "src" / "loomidi" / "shed" / "__init__.py").write_text("")
    assert lint(street).returncode == 1


def test_torch_at_home_is_let_through(street: Path) -> None:
    (street / "src" / "loomidi" / "origami" / "model" / "x.py").write_text("import torch\n")
    assert lint(street).returncode == 0
