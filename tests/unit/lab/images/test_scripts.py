"""The commands of the server images are sound shell and say how they are configured."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from loomidi_lab.images.places import FILES, PACKAGE

SCRIPTS = [*sorted(FILES.glob("*.sh")), PACKAGE / "inside.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script: Path) -> None:
    subprocess.run(("sh", "-n", str(script)), check=True)


@pytest.mark.parametrize("script", sorted(FILES.glob("run-*.sh")), ids=lambda path: path.name)
def test_every_variable_that_configures_a_server_is_in_its_head(script: Path) -> None:
    text = script.read_text()
    head = text[: text.index("set -eu")]
    used = set(re.findall(r"\b((?:NGINX|REDIS|POSTGRES|SSH)_[A-Z]+)\b", text.replace(head, "")))
    assert used
    assert used <= set(re.findall(r"\b[A-Z]+_[A-Z]+\b", head))


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_scripts_have_no_known_pitfalls() -> None:
    subprocess.run(("shellcheck", "--severity=warning", *map(str, SCRIPTS)), check=True)
