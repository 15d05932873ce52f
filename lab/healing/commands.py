"""The verb `heal`: scenarios with and without Loomidi, a line each, and the table of docs/healing.md.

Called by `loomidi_lab.cli`. In: names. Out: lines of JSON in a file, a table between the marks of the page.
"""

import json
import time
from pathlib import Path
from typing import Any

import click

from loomidi_lab.healing.troubles import TROUBLES
from loomidi_lab.staging.pages import put_between

BEGIN, END = "<!-- healing: begin (loomidi-lab heal) -->", "<!-- healing: end -->"
_HEAD = (
    "| scenario | network | Loomidi | detected | folded | trouble over | act lasted | users' requests | errors | p99 | "
    "folds | taken back |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
)


@click.command("heal")
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--seed", default=0, show_default=True, help="Of scenario and users; the same for both runs.")
@click.option("--name", "lab_name", default="lab", show_default=True, metavar="LAB", help="Which lab.")
@click.option("--only", type=click.Choice(["with", "without"]), help="One of the two runs.")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path), help="Where the lines go.  [the labs' own]")
@click.option("--into", metavar="PAGE", type=click.Path(path_type=Path), help="Renew the table of this page.")
def command(
    names: tuple[str, ...], seed: int, lab_name: str, only: str | None, results: Path | None, into: Path | None
) -> int:
    """Run faults on a lab with the shop, without Loomidi and with it acting by itself, and compare.

    Exit code 1: a run with Loomidi in which nothing was folded, or not everything was taken back.
    """
    from loomidi_lab.cluster import Lab
    from loomidi_lab.healing.comparing import heal

    lab = Lab.open(lab_name)
    file, well = results or lab.folder.parent / "healing.jsonl", True
    started = time.monotonic()
    for name in names or TROUBLES:
        for with_loomidi in {"with": (True,), "without": (False,), None: (False, True)}[only]:
            click.echo(f"{name} {'with' if with_loomidi else 'without'} Loomidi", err=True)
            healed = heal(lab, name, seed, with_loomidi=with_loomidi, say=lambda text: _say(started, text))
            line = healed.as_dict() | {"network": lab.network, "defended": with_loomidi, "at": int(time.time())}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
            click.echo(_row(line))
            well &= not with_loomidi or (line["folded_s"] is not None and line["taken_back"])
    if into:
        _put(into, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
    return 0 if well else 1


def _say(started: float, text: str) -> None:
    click.echo(f"[{time.monotonic() - started:6.1f} s] {text}", err=True)


def _put(page: Path, lines: list[dict[str, Any]]) -> None:
    """The last run of each scenario, network and way."""
    last = {(line["scenario"], line["network"], line["defended"]): line for line in lines}
    order = list(TROUBLES)
    keys = sorted(last, key=lambda key: (order.index(key[0]), key[1], key[2]))
    rows = "\n".join([*_HEAD, *(_row(last[key]) for key in keys)])
    put_between(page, BEGIN, END, f"{rows}\n")


def _row(line: dict[str, Any]) -> str:
    cells = [
        line["scenario"],
        line["network"],
        "acts" if line["defended"] else "off",
        *(_seconds(line[name]) for name in ("detected_s", "folded_s", "over_s", "lasted_s")),
        f"{line['requests']:,}",
        f"{line['errors']:,}",
        f"{line['p99_ms']:,.0f} ms",
        "<br>".join(line["folds"]) or "none",
        ("yes" if line["taken_back"] else "NO") if line["folded_s"] is not None else "",
    ]
    return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
