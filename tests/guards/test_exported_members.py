"""The public face of the package and of each house, pinned: a name is added or taken away on purpose."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACES = {
    "loomidi": "__version__ analyze meter",
    "loomidi.insight.explain": "Part Phrase explain patterns phrase technique tell",
    "loomidi.insight.report": "Balance CaptureRead FlowTotals Link ProposedFold Report SEVERITIES Series Talker",
}


@pytest.mark.parametrize("house", FACES)
def test_a_house_exports_these_names_and_no_others(house: str) -> None:
    module = importlib.import_module(house)
    assert sorted(module.__all__) == FACES[house].split()
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_face_is_pinned() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT / "src").parts)
        for path in (ROOT / "src" / "loomidi").rglob("__init__.py")
        if "__all__" in path.read_text()
    }
    assert packages == set(FACES)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import loomidi, sys; print(sorted({'pyarrow', 'numpy', 'rich', 'click', 'yaml'} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"
