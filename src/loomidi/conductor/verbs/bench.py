"""`loomidi bench`: what Loomidi answers on public data sets with known answers.

Called by `conductor.cli`. In: a folder of a data set that somebody fetched. Out: scores for people, or one document.
The peers beside them are in bench/, which is not part of the package. The work is `services.benching`.
"""

import json
from pathlib import Path
from typing import Any

import click

from loomidi.contracts.errors import InputError


@click.group(name="bench")
def command() -> None:
    """Measure on public data sets with known answers; the data is not part of Loomidi."""


@command.command(name="rca")
@click.option("--dataset", type=click.Choice(["nezha", "petshop"]), required=True, help="Whose layout the folder has.")
@click.option("--path", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where its data lies.")
@click.option("--split", type=click.Choice(["train", "test"]), help="PetShop: only these issues; else all there are.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def rca(dataset: str, path: Path, split: str | None, as_json: bool) -> int:
    """Root causes: how often the entity at fault is ranked first, or among the first three.

    Ties count against us. Nezha: `ac1`, `ac3`, by kind of fault and by day, seconds per case. PetShop: `top1`, `top3`,
    by alarm and scenario, and `specificity`, the share of windows without a fault in which nobody is named.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the one into which the data set was unpacked")
    found = _nezha(path) if dataset == "nezha" else _petshop(path, split)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)
    return 0


def _nezha(path: Path) -> dict[str, Any]:
    from loomidi.services.benching import nezha, scoring

    return {"dataset": "nezha"} | scoring.table(scoring.score(nezha.cases(path)), "ac1", "ac3")


def _petshop(path: Path, split: str | None) -> dict[str, Any]:
    from loomidi.services.benching import petshop, scoring

    issues = petshop.cases(path, (split,) if split else petshop.SPLITS)
    found = {"dataset": "petshop"} | scoring.table(scoring.score(issues), "top1", "top3")
    specificity, windows = scoring.silent(petshop.quiet(path))
    return found | {"specificity": specificity, "quiet_windows": windows}


def _show(found: dict[str, Any]) -> None:
    first, first3 = [name for name in found if name in ("ac1", "ac3", "top1", "top3")]
    chance = found["chance"]
    click.echo(f"{found['dataset']}: {found['cases']} cases")
    click.echo(f"  {'all':24} {first} {found[first]:.3f}  {first3} {found[first3]:.3f}")
    click.echo(f"  {'by lot':24} {first} {chance[first]:.3f}  {first3} {chance[first3]:.3f}")
    for key in ("by_kind", "by_group"):
        for name, part in found[key].items():
            click.echo(f"  {name:24} {first} {part[first]:.3f}  {first3} {part[first3]:.3f}  of {part['cases']}")
    if "specificity" in found:
        click.echo(f"  nobody named in {found['specificity']:.1%} of {found['quiet_windows']} windows without a fault")
    click.echo(f"  {found['seconds_per_case']:.2f} s a case, at most {found['seconds_longest']:.2f} s")
