"""`loomidi model`: train, compare, promote and take back the models that score edges; explain them, draw their report.

Called by `conductor.cli`. In: edges of a file, a recording or the lake; the models of the state folder. Out: tables for
people, one document for programs, an HTML page. Exit code 0, 1 when the gate refused, 2 for what cannot be used or is
not installed. The work is `services.anomalies.modelling`.
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError

if TYPE_CHECKING:
    from loomidi.origami.train import Compared, Stream
    from loomidi.services.anomalies.modelling import Models

KINDS = ("robust-norm", "half-space-trees", "edge-sketch", "habits", "graph")


@click.group(name="model")
@click.option("--tracking", metavar="URL", default="", help="Of an MLflow server; else SQLite in the state folder.")
@click.option("--name", default="edges", metavar="NAME", help="Of the registered model.  [edges]")
@click.pass_context
def command(context: click.Context, tracking: str, name: str) -> None:
    """Train, compare, promote, take back and explain the models that score edges.

    DATA is a Parquet or Arrow file of edges (docs/models.md), a recording of the lab, or `lake`. Exit codes: 0 ok, 1
    the gate refused, 2 what cannot be used or is not installed.
    """
    state, settings = context.obj.storage.state, context.obj.models
    context.obj = _Desk(state, tracking or settings.tracking, name)


@dataclasses.dataclass(frozen=True, slots=True)
class _Desk:
    """What every verb here needs, opened when it is."""

    state: Path
    tracking: str
    name: str

    def models(self) -> "Models":
        from loomidi.services.anomalies.modelling import Models

        return Models(self.state, self.tracking, self.name)

    def stream(self, data: str, options: Mapping[str, Any]) -> "Stream":
        """The edges that DATA names. Raises UsageError, InputError."""
        from loomidi.origami import train

        settings = train.StreamSettings(train=options["train_share"], calibrate=options["calibrate_share"])
        if data != "lake":
            if options["since"] or options["until"] or options["as_of"]:
                raise UsageError("--since, --until and --as-of are for the lake; cut a file yourself")
            if not Path(data).exists():
                raise InputError(f"{data} is not there; give a file, a recording's folder, or `lake`")
            return train.of_path(Path(data), settings)
        return self._of_lake(settings, options)

    def _of_lake(self, settings: Any, options: Mapping[str, Any]) -> "Stream":
        from loomidi.conductor.verbs.lake import moment
        from loomidi.origami import train
        from loomidi.services.anomalies.modelling import recycled

        try:
            from loomidi.loom.lake import Lake, LakeSettings
        except ModuleNotFoundError as error:
            raise EnvironmentLacks(f"{error.name} is not installed: pip install 'loomidi[pipeline]'") from error
        now_ns = time.time_ns()
        since, until = (moment(options[name], now_ns) if options[name] else None for name in ("since", "until"))
        with Lake(LakeSettings(folder=options["lake"] or self.state / "lake")) as lake:
            spans = recycled(lake, self.state, now_ns)
            return train.of_lake(
                lake, settings, since_ns=since, until_ns=until, as_of=options["as_of"], spans=spans or None
            )


def _data(what: Callable[..., Any]) -> Callable[..., Any]:
    """DATA, and how it is read."""
    for option in (
        click.argument("data", metavar="DATA"),
        click.option("--train-share", default=0.5, metavar="SHARE", help="Of the rows, to learn from.  [0.5]"),
        click.option("--calibrate-share", default=0.2, metavar="SHARE", help="Of those that follow.  [0.2]"),
        click.option(
            "--lake", type=click.Path(path_type=Path), metavar="FOLDER", help="Another lake than the agent's."
        ),
        click.option("--since", metavar="TIME", help="Of the lake: only windows from then on, such as 24h."),
        click.option("--until", metavar="TIME", help="Of the lake: only windows before then."),
        click.option("--as-of", type=int, metavar="SNAPSHOT", help="Of the lake: as it was then."),
    ):
        what = option(what)
    return what


def _json(what: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document.")(what)


_NOMINAL = click.option(
    "--nominal", default=1e-3, metavar="RATE", help="Of alarms on usual edges: the budget.  [0.001]"
)

_LATENCY = click.option("--latency", default=50.0, metavar="MS", help="Budget of a tick's scoring at the p99.  [50]")


@command.command("train")
@_data
@click.option("--kind", type=click.Choice(KINDS), default="robust-norm", help="What is trained.  [robust-norm]")
@click.option("--seeds", default="0,1,2,3,4", metavar="LIST", help="The first is the model.  [0,1,2,3,4]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the model (repeatable).")
@click.option("--ray", default="", metavar="ADDRESS", help="Train seeds on a Ray cluster, or on a `local` one.")
@click.option("--ablate", is_flag=True, help="Also without groups of features, for the report.")
@_NOMINAL
@_json
@click.pass_obj
def train(desk: _Desk, /, data: str, *, as_json: bool, **options: Any) -> int:
    """Train a model on the first part of DATA, calibrate it on the next, try it on the rest; it becomes challenger.

    All kinds but graph are trained without torch. Recorded in MLflow (extra `learn`).
    """
    from loomidi.services.anomalies.modelling import Wanted

    wanted = Wanted(
        kind=options["kind"],
        name=desk.name,
        seeds=_seeds(options["seeds"]),
        settings=_settings(options["settings"]),
        nominal=options["nominal"],
        ray=options["ray"],
        ablate=options["ablate"],
    )
    models = desk.models()
    models.registry  # noqa: B018 - says what to install before it reads for minutes
    done = models.train(desk.stream(data, options), wanted)
    told = f"{done['name']} {done['version']} ({done['kind']}) is the challenger; run {done['run']}"
    _say(done, as_json, told, *(_spread_line(name, of) for name, of in done["seeds"].items()))
    return 0


@command.command("evaluate")
@click.argument("model", metavar="MODEL")
@_data
@click.option("--into", type=click.Path(path_type=Path), metavar="FILE", help="Write the document of the trial here.")
@_NOMINAL
@_json
@click.pass_obj
def evaluate(desk: _Desk, /, model: str, data: str, *, as_json: bool, **options: Any) -> int:
    """Try MODEL (champion, challenger, previous, a number, a folder) on the last part of DATA.

    Where the champion's data has drifted, a request to train anew is noted; nothing is promoted.
    """
    models, stream = desk.models(), desk.stream(data, options)
    with tempfile.TemporaryDirectory(prefix="loomidi-") as folder:
        found = models.model(model, Path(folder))
        report = models.evaluate(found, stream, options["nominal"])
        asked = models.ask(found, stream, report, time.time_ns())
    report["request"] = None if asked is None else dataclasses.asdict(asked)
    if options["into"]:
        _write(options["into"], json.dumps(report, indent=1) + "\n")
    alarms, latency = report["alarms"], report["latency"]
    lines = [f"alarms {alarms['times_nominal']:.2f} times nominal, p99 of a tick {latency.get('p99_ms', 0):.2f} ms"]
    lines += [
        f"recall {at['recall']:.3f} of {at['incidents']} incidents at {at['fpr']:g}" for at in report.get("at", ())
    ]
    lines += [f"drift: {one['kind']}: {one['what']}" for one in report["drift"]["drifts"][:5]]
    _say(report, as_json, f"{report['model']['name']} ({report['model']['kind']})", *lines)
    return 0


@command.command("compare")
@_data
@click.option("--model", default="challenger", metavar="MODEL", help="Who is held against the champion.  [challenger]")
@_LATENCY
@_NOMINAL
@_json
@click.pass_obj
def compare(desk: _Desk, /, data: str, *, model: str, as_json: bool, **options: Any) -> int:
    """Say whether MODEL would pass the gate on DATA, criterion by criterion. Exit code 1 when it would not."""
    return _gate(desk, data, model, as_json=as_json, go=False, options=options)


@command.command("promote")
@_data
@click.option("--model", default="challenger", metavar="MODEL", help="Who is to be champion.  [challenger]")
@_LATENCY
@_NOMINAL
@_json
@click.pass_obj
def promote(desk: _Desk, /, data: str, *, model: str, as_json: bool, **options: Any) -> int:
    """Make MODEL the champion if it passes the gate on DATA; there is no way around it. Exit code 1 when refused."""
    return _gate(desk, data, model, as_json=as_json, go=True, options=options)


@command.command("rollback")
@click.option("--because", required=True, metavar="TEXT", help="Why; the history keeps it.")
@_json
@click.pass_obj
def rollback(desk: _Desk, *, because: str, as_json: bool) -> int:
    """The champion before becomes champion again."""
    manifest = desk.models().roll_back(because)
    done = {"champion": manifest.id, "version": manifest.version, "kind": manifest.kind, "because": because}
    _say(done, as_json, f"{manifest.name} {manifest.version} ({manifest.kind}) is champion again")
    return 0


@command.command("list")
@_json
@click.pass_obj
def list_(desk: _Desk, *, as_json: bool) -> int:
    """Versions with their aliases, who scores live, what became of models, open requests to train anew.

    Without MLflow: all but the versions.
    """
    found = desk.models().listing()
    lines = [
        f"{one['version']:>4}  {one['kind']:18} {', '.join(one['aliases']):22} schema {one['schema_hash'][:12]}"
        for one in found["versions"]
    ]
    lines += [f"{side}: {found[side]['id']}" for side in ("champion", "challenger") if found[side]]
    lines += [
        f"{row['what']}: {row['model']['kind']} {row['model']['version']}: {row['because']}" for row in found["history"]
    ]
    lines += [f"asked for a training: {'; '.join(one['because'])}" for one in found["requests"]]
    lines = lines or ["no model yet; `loomidi model train` makes one"]
    _say(found, as_json, *lines, *([f"versions are not told: {found['lacking']}"] if found["lacking"] else []))
    return 0


@command.command("explain")
@click.argument("model", metavar="MODEL")
@_data
@click.option("--most", default=10, type=click.IntRange(1, 1000), metavar="EDGES", help="How many.  [10]")
@_json
@click.pass_obj
def explain(desk: _Desk, /, model: str, data: str, *, most: int, as_json: bool, **options: Any) -> int:
    """The edges of the last part of DATA that MODEL finds strangest, and what is unusual about each."""
    from loomidi.origami import train as life

    stream = desk.stream(data, options)
    with tempfile.TemporaryDirectory(prefix="loomidi-") as folder:
        found = desk.models().model(model, Path(folder))
        rows = life.strangest(found, stream, life.try_out(found, stream), most)
    lines = [
        f"p {row['p_value']:.2g}  {row['source']} -> {row['destination']}  "
        + ", ".join(f"{one['feature']} {one['value']:.3g} ({one['share']:.0%})" for one in row["reasons"])
        for row in rows
    ]
    _say({"edges": rows}, as_json, *lines)
    return 0


@command.command("report")
@click.argument("source", metavar="MODEL|FILE")
@click.option("--into", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The page.")
@click.pass_obj
def report(desk: _Desk, *, source: str, into: Path) -> int:
    """Draw the report of a version's run, or of a document that `evaluate --into` wrote, as one HTML page."""
    from loomidi.insight.report.model_page import model_page

    if Path(source).is_file():
        try:
            document = json.loads(Path(source).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{source}: not JSON ({error}); `loomidi model evaluate --into` writes one") from error
    else:
        document = desk.models().report(source)
    _write(into, model_page(document))
    click.echo(f"written: {into}")
    return 0


def _gate(desk: _Desk, data: str, model: str, *, as_json: bool, go: bool, options: Mapping[str, Any]) -> int:
    from loomidi.origami import train as life

    models = desk.models()
    settings = life.GateSettings(nominal=options["nominal"], latency_ms=options["latency"])
    compared = models.compare(model, desk.stream(data, options), settings, go=go)
    gate = compared.gate
    verdict = ("promoted" if go else "would be promoted") if gate.open else "refused"
    document = {"verdict": verdict, **_sides(compared), **gate.as_dict()}
    signs = {True: "met", False: "not met", None: "not defined"}
    lines = [f"  {one.name:11} {signs[one.met]:12} {one.figure}; asked for {one.limit}" for one in gate.criteria]
    _say(document, as_json, f"{verdict}: {gate.because}", *lines)
    return 0 if gate.open else 1


def _sides(compared: "Compared") -> dict[str, Any]:
    sides = {"challenger": compared.challenger, "champion": compared.against}
    return {
        side: None if one is None else {"id": one.id, "kind": one.kind, "version": one.version}
        for side, one in sides.items()
    }


def _seeds(given: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in given.split(","))
    except ValueError as error:
        raise UsageError(f"{given!r} are no seeds; write 0,1,2,3,4") from error


def _settings(given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, values as JSON where they are, else as text."""
    out = dict[str, Any]()
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise UsageError(f"{one!r} is no setting; write NAME=VALUE, such as depth=12")
        try:
            out[name] = json.loads(value)
        except ValueError:
            out[name] = value
    return out


def _spread_line(name: str, of: Mapping[str, float]) -> str:
    return f"  {name:18} mean {of['mean']:.4g}, deviation {of['sd']:.2g}, worst {of['worst']:.4g}"


def _say(document: Mapping[str, Any], as_json: bool, *lines: str) -> None:
    click.echo(json.dumps(document, indent=1, default=str) if as_json else "\n".join(lines))


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise EnvironmentLacks(f"{path}: {error.strerror or error}") from error
