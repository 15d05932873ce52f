"""The verb `redteam`: attacks of the catalogue on this machine, in namespaces of their own.

Called by `loomidi_lab.cli`. In: names, a stage, modes. Out: a line for each attack, lines of JSON, a table between the
marks of a page, and the last line `detected N/M, benign lost N, undone N/M`. Exit code 1: an expectation was missed.
"""

import datetime as dt
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from loomidi_lab.redteam.records import Attack, Measured

MODES = ("guarded", "autonomous")
_VERSIONS = {
    "nmap": ("nmap", "--version"),
    "hping3": ("hping3", "--version"),
    "slowhttptest": ("slowhttptest", "-h"),
    "hydra": ("hydra", "-h"),
    "iodine": ("iodine", "-v"),
    "iperf3": ("iperf3", "--version"),
    "atk6-thcsyn6": ("atk6-thcsyn6",),
    "lighttpd": ("lighttpd", "-v"),
    "sshd": ("ssh", "-V"),
    "dnsmasq": ("dnsmasq", "--version"),
}


@click.command("redteam")
@click.argument("names", nargs=-1, metavar="[ATTACK]...")
@click.option("--stage", type=int, default=0, metavar="K", help="One part of the catalogue, below 20 minutes.")
@click.option("--short", is_flag=True, help="The short catalogue: below 5 minutes on two cores.")
@click.option("--mode", type=click.Choice([*MODES, "both"]), default="both", show_default=True, help="Of the lane.")
@click.option("--list", "listed", is_flag=True, help="What there is; run nothing.")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path), help="Where the lines go.  [the labs' own]")
@click.option("--json", "figures", metavar="FILE", type=click.Path(path_type=Path), help="Figures of the last rows.")
@click.option("--into", metavar="PAGE", type=click.Path(path_type=Path), help="Renew the table of this page.")
def command(
    names: tuple[str, ...],
    stage: int,
    short: bool,
    mode: str,
    listed: bool,
    results: Path | None,
    figures: Path | None,
    into: Path | None,
) -> int:
    """Carry out attacks for real against shield and fast lane, amid honest clients, and measure what becomes of them.

    Everything happens in network namespaces that the run makes and removes; no packet leaves them. Needs root. Attacks
    whose tool is missing are skipped, with the reason (tools/install_ebpf_deps.sh --redteam installs them all).
    """
    from loomidi_lab.cluster.places import labs
    from loomidi_lab.redteam import tables
    from loomidi_lab.redteam.catalogue import CATALOGUE, chosen

    attacks = chosen(names, stage, short=short)
    if listed:
        for attack in attacks:
            click.echo(f"{attack.name:<24} {attack.family:<11} {attack.technique:<10} {attack.says}")
        return 0
    file = results or labs() / "redteam.jsonl"
    rows = _run(attacks, MODES if mode == "both" else (mode,), file)
    made = tables.latest(tables.read(file), CATALOGUE) if into or figures else []
    if figures:
        figures.parent.mkdir(parents=True, exist_ok=True)
        figures.write_text(json.dumps(tables.figures(made)), encoding="utf-8")
    if into:
        tables.put_into(into, tables.table(made, CATALOGUE, _made(made)))
        click.echo(f"{into}: table renewed")
    click.echo(tables.summary(rows))
    return 1 if not rows or any(row.failures for row in rows) else 0


def _run(attacks: Sequence[Attack], modes: Sequence[str], file: Path) -> list[Measured]:
    """Every attack in every mode that this machine can run, one after the other."""
    from loomidi.services.demo.story import ending_cleanly
    from loomidi_lab.redteam import tables
    from loomidi_lab.redteam.carrying import Carrying
    from loomidi_lab.redteam.grounds import ground
    from loomidi_lab.redteam.serving import missing

    for attack in attacks:
        if lacking := missing(attack.needs):
            click.echo(f"{attack.name}: skipped, {', '.join(lacking)} not installed", err=True)
    pairs = [(attack, mode) for attack in attacks if not missing(attack.needs) for mode in modes]
    rows: list[Measured] = []
    with ending_cleanly(), ground() as place:
        for attack, mode in pairs:
            rows.append(Carrying(place, attack, mode).run())
            tables.append(file, rows[-1])
            click.echo("\n  ".join([tables.line(rows[-1]), *(rows[-1].said if rows[-1].failures else ())]))
    return rows


def _made(rows: Sequence[Measured]) -> str:
    """How the table was made: when, where, with what."""
    when = dt.datetime.fromtimestamp(max((row.at for row in rows), default=0), dt.UTC)
    rungs = ", ".join(sorted({row.rung for row in rows}))
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}, shield {rungs}"
    tools = ", ".join(f"{name} {version}" for name, words in _VERSIONS.items() if (version := _version(words)))
    return f"Made by `loomidi-lab redteam` until {when:%Y-%m-%d %H:%M} UTC; {machine}; {tools}."


def _version(words: Sequence[str]) -> str:
    """The first number with a dot that a tool says of itself; "" when it is not there."""
    from loomidi_lab.redteam.serving import found

    if not found(words[0]):
        return ""
    done = subprocess.run([found(words[0]), *words[1:]], capture_output=True, text=True, check=False, timeout=10)
    number = re.search(r"\d+\.[\w.]+", done.stdout + done.stderr)
    return number[0] if number else "?"
