"""Which figures stand: those of the sources that are there, as they were written."""

from pathlib import Path

import pytest

from bench import measured


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a script, a module that it imports within a function, and one that it does not."""
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    monkeypatch.setattr(measured, "_HOMES", {"bench": tmp_path, "loomidi": tmp_path / "src"})
    for name, text in {
        "bench/speed.py": "def main():\n    from bench import parts\n",
        "bench/parts.py": "from loomidi.deep.inner import thing\nimport json\n",
        "bench/other.py": "",
        "src/loomidi/deep/__init__.py": "",
        "src/loomidi/deep/inner.py": "thing = 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "speed.json").write_text("{}")
    measured.note("speed", tmp_path)
    return tmp_path


def test_what_was_measured_stands(tree: Path) -> None:
    found = measured.noted("speed", tree)
    assert found is not None
    assert "cores" in found.machine
    assert measured.stands("speed", tree)


@pytest.mark.parametrize("name", ["bench/speed.py", "bench/parts.py", "src/loomidi/deep/inner.py"])
def test_it_does_not_once_a_source_was_changed(tree: Path, name: str) -> None:
    (tree / name).write_text((tree / name).read_text() + "# changed\n")
    assert not measured.stands("speed", tree)
    assert measured.noted("speed", tree) is not None  # when and where they were measured is true all the same


def test_what_it_does_not_import_changes_nothing(tree: Path) -> None:
    (tree / "bench/other.py").write_text("# changed\n")
    assert measured.stands("speed", tree)


def test_figures_that_somebody_else_wrote_are_not_those_that_were_noted(tree: Path) -> None:
    (tree / "speed.json").write_text('{"better": true}')
    assert measured.noted("speed", tree) is None
    assert not measured.stands("speed", tree)


def test_without_figures_nothing_is_noted(tmp_path: Path) -> None:
    measured.note("speed", tmp_path)
    assert measured.noted("speed", tmp_path) is None
