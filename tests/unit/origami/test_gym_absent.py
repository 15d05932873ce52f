"""Without gymnasium, sb3 and ray everything works but their homes, which say what to install."""

import importlib
import subprocess
import sys

import pytest

from loomidi.contracts import EnvironmentLacks

HOMES = {"environment": "gymnasium", "agents": "sb3_contrib", "clusters": "ray"}


@pytest.mark.parametrize("home", HOMES)
def test_a_home_without_its_library_says_what_to_install(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HOMES:
        monkeypatch.delitem(sys.modules, f"loomidi.origami.gym.{name}", raising=False)
    for library in ("gymnasium", HOMES[home]):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EnvironmentLacks, match=r"pip install 'loomidi\[train\]'"):
        importlib.import_module(f"loomidi.origami.gym.{home}")


def test_the_simulator_loads_none_of_them() -> None:
    heavy = "{'gymnasium', 'sb3_contrib', 'ray', 'torch'}"
    code = f"import loomidi.origami.gym, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
