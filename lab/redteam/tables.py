"""Rows as lines of JSON, as a Markdown table between the marks of docs/resilience.md, and as the run's last line.

Called by the verb and the tests. In: `Measured` rows. Out: text. A miss is told in the row and again below the table,
with its reason: nobody has to look for it. Leaves the page around the table to its author.
"""

import fcntl
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from loomidi.contracts.errors import InputError
from loomidi_lab.redteam.records import Attack, Measured, measured
from loomidi_lab.staging.pages import put_between

BEGIN, END = "<!-- red team: begin (loomidi-lab redteam) -->", "<!-- red team: end -->"
_HEAD = (
    "| attack | ATT&CK | mode | detected | first packet to finding | to first drop | dropped after it | "
    "benign sent, lost (outside, inside) | cut | collateral | undone | accounts |",
    "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
)


def summary(rows: Sequence[Measured]) -> str:
    """The line that ends a run. Benign requests inside a stated blast radius are not in it; the table has them."""
    found = sum(row.detected for row in rows)
    lost = sum(row.lost_outside for row in rows)
    undone, entries = sum(row.undone for row in rows), sum(row.entries for row in rows)
    return f"detected {found}/{len(rows)}, benign lost {lost}, undone {undone}/{entries}"


def figures(rows: Sequence[Measured]) -> dict[str, float | int | None]:
    """What a release promises, as numbers; speed is of rows with a drop, `no_drop` counts the others."""
    quick = [row for row in rows if row.family in ("volumetric", "scan")]
    times = sorted(row.drop_s for row in quick if row.drop_s is not None)
    slow = [row.finding_s for row in rows if row.family == "slow"]
    return {
        "attacks": len({row.attack for row in rows}),
        "rows": len(rows),
        "detected_share": sum(row.detected for row in rows) / len(rows) if rows else 0.0,
        "benign_lost_outside": sum(row.lost_outside for row in rows),
        "connections_cut": sum(row.connections_cut for row in rows),
        "collateral": sum(len(row.collateral) for row in rows),
        "not_undone": sum(row.entries - row.undone for row in rows),
        "unbalanced": sum(not row.balance for row in rows),
        "drop_p50_ms": 1000 * statistics.median_low(times) if times else None,
        "no_drop": sum(row.drop_s is None for row in quick),
        "slow_within_60_s": sum(one is not None and one <= 60 for one in slow) / len(slow) if slow else None,
    }


def append(path: Path, row: Measured) -> None:
    """One line; several runs may write to one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row.as_dict(), separators=(",", ":")) + "\n")


def read(path: Path) -> list[Measured]:
    """All rows of a file. Raises InputError naming the line that cannot be used."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(measured(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}:{number}: no row of a run; remove the line") from error
    return rows


def latest(rows: Iterable[Measured], attacks: Sequence[Attack]) -> list[Measured]:
    """The last row of each attack and mode, in the order of the catalogue."""
    order = {attack.name: index for index, attack in enumerate(attacks)}
    last = {(row.attack, row.mode): row for row in rows if row.attack in order}
    return sorted(last.values(), key=lambda row: (order[row.attack], row.mode))


def table(rows: Sequence[Measured], attacks: Sequence[Attack], made: str) -> str:
    """Markdown: how it was made, the sums, a row each, the misses, the figures of speed."""
    says = {attack.name: attack.says for attack in attacks}
    lines = [made, "", f"**{summary(rows)}**", "", *_HEAD, *(_row(row, says.get(row.attack, "")) for row in rows), ""]
    absent = [attack.name for attack in attacks if not any(row.attack == attack.name for row in rows)]
    lines += [*_misses(rows), *_speed(rows)]
    lines += ["", f"Not run: {', '.join(absent)}."] if absent else []
    return "\n".join(lines) + "\n"


def put_into(page: Path, made: str) -> None:
    """Replace what stands between the marks. Raises InputError when the page has none."""
    put_between(page, BEGIN, END, made)


def line(row: Measured) -> str:
    """One row for a terminal."""
    dropped = f", dropped after {_time(row.drop_s)}" if row.drop_s is not None else ""
    seen = f"{row.pattern} after {_time(row.finding_s)}{dropped}" if row.detected else "MISSED"
    lost = f"benign {row.benign_sent} lost {row.lost_outside}+{row.lost_within}"
    end = "; ".join(row.failures) or (f"named miss: {row.named_miss}" if not row.detected else "as expected")
    return f"{row.attack} [{row.mode}]: {seen}; {lost}; undone {row.undone}/{row.entries}; {end}"


def _row(row: Measured, says: str) -> str:
    cells = (
        f"{row.attack}: {says}",
        row.technique,
        row.mode,
        f"{row.pattern}, {row.outcome}" if row.detected else ("named miss" if row.named_miss else "**MISSED**"),
        _time(row.finding_s),
        _time(row.drop_s),
        "" if row.blocked_share is None else f"{row.blocked_share:.0%}",
        f"{row.benign_sent:,}, {row.lost_outside}, {row.lost_within}",
        str(row.connections_cut),
        str(len(row.collateral)),
        f"{row.undone}/{row.entries}",
        "add up" if row.balance else "**do not add up**",
    )
    return f"| {' | '.join(cells)} |"


def _misses(rows: Sequence[Measured]) -> list[str]:
    told = []
    for row in rows:
        name = f"- {row.attack} ({row.mode})"
        if row.named_miss:
            told.append(f"{name}: named as a miss, and found" if row.detected else f"{name}, known: {row.named_miss}")
        if row.failures:
            told.append(f"{name}: {'; '.join(row.failures)}")
    return ["Missed:", "", *told] if told else ["Missed: nothing."]


def _speed(rows: Sequence[Measured]) -> list[str]:
    quick = sorted(row.drop_s for row in rows if row.family in ("volumetric", "scan") and row.drop_s is not None)
    if not quick:
        return []
    middle = statistics.median_low(quick)
    cut = sum(row.drop_s is None for row in rows if row.family in ("volumetric", "scan"))
    blind = f"; {cut} without a drop are in no percentile" if cut else ""
    times = f"p50 {_time(middle)}, longest {_time(quick[-1])}"
    return ["", f"First packet to first drop, volumetric and scans: {times}{blind}."]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
