"""Which figures stand: what a script measured, on which machine, and whether its sources are still those.

Called by `bench.report`. In: a script's name, the folder of figures. Out: a note beside the figures. A run of hours
that was broken off goes on with what is left, and figures that were brought from another machine say which.
"""

import ast
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tools.machine import machine

ROOT = Path(__file__).resolve().parent.parent
_HOMES = {"bench": ROOT, "loomidi": ROOT / "src", "tools": ROOT}  # of our packages


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """When, where, and by what."""

    at: str  # UTC, the day
    machine: str
    sources: str  # `digest` of the script
    figures: str  # SHA-256 of the file of figures


def note(name: str, folder: Path) -> None:
    """Say beside the figures of a script how they came about; nothing where there are none."""
    figures = folder / f"{name}.json"
    if figures.is_file():
        found = Measured(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}", machine(), digest(name), _sha256(figures))
        _note_of(name, folder).write_text(json.dumps(dataclasses.asdict(found)))


def noted(name: str, folder: Path) -> Measured | None:
    """What is said of the figures that lie there; None where it is of others, or nothing is said."""
    try:
        found = Measured(**json.loads(_note_of(name, folder).read_text()))
        return found if found.figures == _sha256(folder / f"{name}.json") else None
    except (OSError, ValueError, TypeError):
        return None


def stands(name: str, folder: Path) -> bool:
    """Whether it was measured by the sources that are there now."""
    found = noted(name, folder)
    return found is not None and found.sources == digest(name)


def digest(name: str) -> str:
    """SHA-256 over the script and all of ours that it imports, at any depth and anywhere in a file."""
    total, left, seen = hashlib.sha256(), [ROOT / "bench" / f"{name}.py"], set[Path]()
    while left:
        path = left.pop()
        if path not in seen:
            seen.add(path)
            left.extend(_imported(path))
    for path in sorted(seen):
        total.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def _imported(path: Path) -> Iterator[Path]:
    """Modules of ours: as a whole, or what is taken from a package."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
        for name in names:
            if home := _HOMES.get(name.partition(".")[0]):
                place = home / name.replace(".", "/")
                yield from (one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file())


def _note_of(name: str, folder: Path) -> Path:
    return folder / f"{name}.measured"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
