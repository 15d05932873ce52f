"""Every safety rule names the test that fails when it breaks, and that test is there; rules without one are here."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "safety.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE.read_text())
SOURCES = sorted((ROOT / "src" / "loomidi").rglob("*.py"))
AT_THE_EDGE = ("conductor", "services", "kit")


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: str(part).rpartition("/")[2])
def test_the_test_of_a_rule_is_there(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_of_the_page_names_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("|---")]
    unnamed = [row for row in rows if "the test that fails" not in row and "::test_" not in row]
    assert unnamed == []


def test_every_invariant_of_the_architecture_has_a_row() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("## Invariants, as absences")[2].partition("\n## ")[0]
    numbers = set(re.findall(r"^(\d+)\. ", text, re.MULTILINE))
    assert numbers
    assert numbers <= set(re.findall(r"^\| (\d+) ", PAGE.read_text(), re.MULTILINE))


def test_the_kernel_forgets_nothing_that_is_accounted() -> None:
    """The one LRU map holds the short windows of suspects, of which a forgotten one is counted anew."""
    texts = [path.read_text() for path in sorted((ROOT / "bpf").rglob("*.[ch]")) if "build" not in path.parts]
    maps = [part.partition("SEC(")[0] for text in texts for part in re.split(r"\bstruct \{", text) if "LRU" in part]
    names = [re.findall(r"\} (\w+) $", text.replace("\n", " ")) for text in maps if "BPF_MAP_TYPE_LRU" in text]
    assert names == [["lm_watch"]]


def test_settings_are_read_from_the_environment_at_the_edge() -> None:
    inside = [path for path in SOURCES if path.relative_to(ROOT / "src" / "loomidi").parts[0] not in AT_THE_EDGE]
    reading = re.compile(r"os\.environ(\[|\.get\b)|os\.getenv")
    assert [str(path) for path in inside if reading.search(path.read_text())] == []
    own = re.compile(r"(environ\[|environ\.get\(|getenv\()\s*[\"']LOOMIDI_")
    assert [str(path) for path in SOURCES if own.search(path.read_text())] == []


def test_nothing_of_the_lab_is_imported() -> None:
    found = re.compile(r"^\s*(from|import) loomidi_lab\b", re.MULTILINE)
    assert [str(path) for path in SOURCES if found.search(path.read_text())] == []
