"""`loomidi run`: the whole pipeline on one machine, from one configuration file.

Called by `conductor.cli`. In: a TOML file, the environment, which parts. Out: it runs until Ctrl-C or SIGTERM; where it
listens is told on standard error. Exit code 0 after a clean end, 2 when a part failed for good. The work is
`services.pipeline`.
"""

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from loomidi.contracts.errors import EnvironmentLacks

_HEAD = "Configuration of `loomidi run`; what is left out keeps the value shown here. See docs/operations.md."


@click.command("run")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML; without it, defaults.")
@click.option("--only", metavar="PART,...", default="", help="Run these parts alone; `--only help` lists them.")
@click.option("--runner", type=click.Choice(["local", "flink"]), help="Of the windows; wins over the file.  [local]")
@click.option("--print-config", is_flag=True, help="Print the configuration in force, each setting explained, and end.")
def command(config: Path | None, only: str, runner: str | None, print_config: bool) -> int:
    """Run the pipeline: bus, lake, ingestion API, and what keeps and counts them.

    Everything has a default: the bus is a NATS server of our own, the lake local files. Ends in order on Ctrl-C or
    SIGTERM; what a killed one had acknowledged is taken up by the next start.
    """
    settings = settings_of(config)
    if runner is not None:
        settings = _with_runner(settings, runner)
    if print_config:
        from loomidi.kit import configuring

        click.echo(configuring.printed(settings, _HEAD), nl=False)
        return 0
    from loomidi.services import pipeline

    if only == "help":
        for name, about in pipeline.PARTS.items():
            click.echo(f"{name:10} {about}")
        return 0
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    asyncio.run(pipeline.run(settings, only=chosen, listening=_tell))
    return 0


def settings_of(config: Path | None) -> Any:
    """Of a file and the environment. Raises BadSetting, EnvironmentLacks without the libraries."""
    try:
        from loomidi.kit import configuring
        from loomidi.services.settings.run import RunSettings
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    return configuring.read(RunSettings, config, os.environ)


def _with_runner(settings: Any, runner: str) -> Any:
    from loomidi.services.settings.run import Runner

    return dataclasses.replace(settings, windows=dataclasses.replace(settings.windows, runner=Runner(runner)))


def _tell(part: str, port: int) -> None:
    click.echo(f"loomidi: {part} listens on port {port}", err=True)
