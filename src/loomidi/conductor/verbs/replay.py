"""`loomidi replay`: captures as if they were live, to the bus or to the ingestion API; or incidents, as tests.

Called by `conductor.cli`. In: captures, a speed, where to; or a folder of incidents. Out: a line per capture that says
where each packet went, or a line per incident. Exit code 0; 2 when a capture could not be read to its end or a packet
is missing; 1 when an incident fails. The work is `services.replaying` and `services.incidents`.
"""

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks, UsageError

if TYPE_CHECKING:
    from loomidi.services.incidents.replays import Caught
    from loomidi.services.replaying import Replayed, ReplaySettings


@click.command("replay")
@click.argument("captures", nargs=-1, metavar="[CAPTURE...]")
@click.option(
    "--incidents",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead: judge the incidents in DIR again, with their tuned thresholds and without.",
)
@click.option("--speed", default="1", metavar="X|max", help="1: as it was; 10: ten times as fast; max: at once.  [1]")
@click.option("--bus", "bus_url", metavar="URL", help="nats://..., kafka://...; without it, our own server.")
@click.option("--ingest", metavar="URL", help="POST to an ingestion API instead, such as http://localhost:8080.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer token for --ingest.")
@click.option("--shift-to-now", "shift", is_flag=True, help="Move all times so that the first packet is now.")
@click.option("--node", default="replay", metavar="NAME", help="Who is said to have metered it.  [replay]")
@click.option("--active", "active_s", type=float, metavar="S", help="Cut flows that are longer.  [120]")
@click.option("--idle", "idle_s", type=float, metavar="S", help="Silence that ends a flow.  [60]")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML, for the bus; flags win over it.")
def command(captures: tuple[str, ...], **options: Any) -> int:
    """Replay pcap and pcapng through the meter, at the speed at which they were captured or another.

    Every batch is acknowledged before the next one is sent: nothing is sampled or dropped. The counters of the loss
    balance go with them. Exit code 2: something could not be read, or does not add up. With --incidents nothing is
    sent; exit code 1: an incident is no longer caught, is caught later, or its look-alike alarms.
    """
    if options["incidents"]:
        if captures or options["bus_url"] or options["ingest"]:
            raise UsageError("--incidents sends nothing; leave CAPTURE, --bus and --ingest out")
        return _incidents(options["incidents"])
    if not captures:
        raise UsageError("nothing to replay; name captures, or --incidents DIR")
    if options["bus_url"] and options["ingest"]:
        raise UsageError("give --bus or --ingest, not both")
    done = asyncio.run(_replayed(captures, _settings(options), options))
    for capture, one in zip(captures, done, strict=True):
        click.echo(_line(capture, one), err=True)
        for problem in one.problems:
            click.echo(f"loomidi: {problem}", err=True)
    return 0 if all(one.adds_up and not one.problems for one in done) else 2


def _incidents(folder: Path) -> int:
    from loomidi.services.incidents.replays import replay_all

    failed = 0
    click.echo(f"{'incident':36} {'packets until caught':>22} {'ms until caught':>24}  look-alike")
    for one in replay_all(folder):
        packets = f"{_told(one.before, 'packets')} -> {_told(one.after, 'packets')}"
        times = f"{_told(one.before, 'ms')} -> {_told(one.after, 'ms')}"
        quiet = (
            f"{one.benign_packets} packets, {'ALARMS' if one.alarms else 'silent'}" if one.benign_packets else "none"
        )
        verdict = one.problem or ("faster" if one.faster else "as before")
        click.echo(f"{one.name:36} {packets:>22} {times:>24}  {quiet}: {verdict}")
        failed += bool(one.problem)
    return 1 if failed else 0


def _told(caught: "Caught | None", name: str) -> str:
    return "not" if caught is None else f"{getattr(caught, name):,}"


def _settings(options: dict[str, Any]) -> "ReplaySettings":
    from loomidi.loom.flows import MeterSettings
    from loomidi.services.replaying import ReplaySettings

    text = options["speed"]
    try:
        speed = 0.0 if text == "max" else float(text)
    except ValueError:
        raise UsageError(f"--speed {text}: use a number, or max") from None
    meter = {name: options[name] for name in ("active_s", "idle_s") if options[name] is not None}
    return ReplaySettings(speed=speed, shift=options["shift"], node=options["node"], meter=MeterSettings(**meter))


async def _replayed(captures: tuple[str, ...], settings: "ReplaySettings", options: dict[str, Any]) -> "list[Replayed]":
    try:
        import httpx

        from loomidi.loom.bus import open_bus
        from loomidi.services import replaying
        from loomidi.services.shared.counting import Counter
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    if options["ingest"]:
        token = options["token_file"]
        headers = {"Authorization": f"Bearer {token.read_text(encoding='utf-8').split()[0]}"} if token else {}
        async with httpx.AsyncClient(headers=headers, timeout=60.0) as client:
            return await replaying.replay(captures, replaying.ApiSink(client, options["ingest"]), settings)
    counter = Counter(settings.node, replaying.COMPONENT, time.time_ns())
    async with await open_bus(_bus(options)) as bus:
        return await replaying.replay(captures, replaying.BusSink(bus, counter), settings)


def _bus(options: dict[str, Any]) -> Any:
    from loomidi.conductor.verbs.run import settings_of

    settings = settings_of(options["config"]).bus
    return dataclasses.replace(settings, url=options["bus_url"]) if options["bus_url"] else settings


def _line(capture: str, one: "Replayed") -> str:
    """Where every packet went; the parts add up to the first number."""
    counts = dict(one.balance)
    accounted = counts.pop("accounted", 0)
    parts = [f"{accounted} accounted in {one.flows} flows", *(f"{count} {reason}" for reason, count in counts.items())]
    rate = one.flows / one.took_s if one.took_s else 0.0
    end = "" if one.adds_up else f"; {accounted - one.packets} packets are MISSING from the flows, please report it"
    return (
        f"loomidi: {capture}: {accounted + sum(counts.values())} packets of {one.seconds:.1f} s = {' + '.join(parts)}; "
        f"took {one.took_s:.1f} s, {rate:,.0f} flows/s{end}"
    )
