"""What runs have shown, one JSON line each, and the table that docs/lab.md carries.

Called by the commands, the fixtures and the recorder. In: occurrences. Out: lines appended to a file that outlives
labs, and a Markdown table with the last valid run of each scenario. Leaves the page around the table to its author.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.pages import put_between
from loomidi_lab.staging.records import Occurrence

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

BEGIN, END = "<!-- scenarios: begin (loomidi-lab table) -->", "<!-- scenarios: end -->"
_CATEGORIES = ("attack", "failure", "benign")


def results_file(lab: "Lab") -> Path:
    """Beside the labs' own folders: it stays when a lab goes down."""
    return lab.folder.parent / "results.jsonl"


def append(path: Path, occurrence: Occurrence) -> None:
    """One line; several runners may write to one file."""
    line = json.dumps(occurrence.as_dict(), separators=(",", ":")) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All lines. Raises InputError naming the line that cannot be used."""
    if not path.is_file():
        raise InputError(f"{path} is not there; run scenarios first (`loomidi-lab run NAME`)")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: no JSON line; remove it") from error
    return found


def table(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Markdown: for each scenario its last valid run, else its last; those never run are told below."""
    last: dict[str, Mapping[str, Any]] = {}
    for result in results:
        name = result["planned"]["scenario"]
        if name not in last or result["measured"]["valid"] or not last[name]["measured"]["valid"]:
            last[name] = result
    chosen = sorted(
        (last[name] for name in names if name in last),
        key=lambda one: (
            _CATEGORIES.index(one["planned"]["category"]),
            one["planned"]["family"],
            one["planned"]["scenario"],
        ),
    )
    lines = [
        "| scenario | family | technique or kind | symptoms seen | took | flows | confirmed |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(one) for one in chosen]
    absent = [name for name in names if name not in last]
    if absent:
        lines += ["", f"Not run yet: {', '.join(absent)}."]
    return "\n".join(lines) + "\n"


def _row(result: Mapping[str, Any]) -> str:
    planned, measured = result["planned"], result["measured"]
    took = (measured["end_ns"] - measured["start_ns"]) / 1e9
    symptoms = "<br>".join(
        f"{_cell(one['name'])}: {_figure(one['value'])} ({_cell(one['wanted'])})" for one in measured["symptoms"]
    )
    confirmed = "yes" if measured["valid"] else f"no: {_cell(measured['void_because'])}"
    cells = (
        planned["scenario"],
        f"{planned['category']}, {planned['family']}",
        planned["technique"] or planned["kind"],
        symptoms,
        f"{took:.1f} s",
        f"{measured['flows']:,}",
        confirmed,
    )
    return f"| {' | '.join(cells)} |"


def _figure(value: float | str) -> str:
    return f"{value:,.5g}" if isinstance(value, (int, float)) and value < 1e5 else _cell(_whole(value))


def _whole(value: float | str) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else value


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:160]


def put_into(page: Path, made: str) -> None:
    """Replace what stands between the marks. Raises InputError when the page has none."""
    put_between(page, BEGIN, END, made)
