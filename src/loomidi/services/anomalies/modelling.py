"""What the verbs of `loomidi model` do, with the adapters that they need.

Called by `conductor.verbs.model`. In: paths, names, an opened lake. Out: plain documents. Picks where models are
recorded (MLflow in the state folder or at a URL) and where seeds are trained (here or by Ray), and puts beside a trial
what `insight` says of drift. Decides nothing: the gate is `origami.train`'s.
"""

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.errors import Conflict, EnvironmentLacks, InputError
from loomidi.insight.learn import Drift, DriftSettings, Request, Requests, alarm_drift, feature_drift, keep, labels_of
from loomidi.insight.learn.changes import ScoreChanges, medians
from loomidi.ionic.act import FILE_NAME, SqliteReceipts
from loomidi.kit import logging
from loomidi.origami import train as life
from loomidi.origami.scoring import Model, Shelf, manifests
from loomidi.origami.scoring.champions import FOLDER
from loomidi.origami.train.gating import usual_of

if TYPE_CHECKING:
    from loomidi.loom.lake import Lake

REPORT = "report.json"
_log = logging.logger("services.modelling")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """A training, as it was asked for."""

    kind: str = "robust-norm"
    name: str = "edges"
    seeds: tuple[int, ...] = (0,)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nominal: float = 1e-3
    ray: str = ""  # address of a cluster, or local; empty: this process
    ablate: bool = False


class Models:
    """Those of one installation."""

    def __init__(self, state: Path, tracking: str = "", name: str = "edges") -> None:
        """`tracking`: URL of an MLflow server; empty: SQLite and files in the state folder."""
        self.folder, self.name, self._tracking = state / FOLDER, name, tracking
        self.shelf, self.requests = Shelf(self.folder), Requests(self.folder)
        self._registry: life.Registry | None = None

    @property
    def registry(self) -> life.Registry:
        """Opened when it is needed. Raises EnvironmentLacks without mlflow."""
        if self._registry is None:
            self._registry = life.Registry(self.folder, self._tracking)
            champion = self.shelf.champion()
            self._registry.settle(None if champion is None else champion.manifest)  # it may have come back by itself
        return self._registry

    def train(self, stream: life.Stream, wanted: Wanted) -> dict[str, Any]:
        """Every seed, the report of the first, a run and a version that is the challenger."""
        registry = self.registry  # what cannot be recorded is not trained
        asked = life.FitSettings(kind=wanted.kind, name=wanted.name, settings=wanted.settings, nominal=wanted.nominal)
        spread = life.RaySeeds(wanted.ray) if wanted.ray else life.here
        with tempfile.TemporaryDirectory(prefix="loomidi-") as folder:
            seeds = life.train(stream, asked, wanted.seeds, Path(folder), spread)
            report = self.evaluate(seeds.chosen.model, stream, wanted.nominal)
            report["seeds"] = [dict(row) for row in seeds.rows]
            if wanted.ablate:
                report["ablations"] = life.ablations(stream, asked, wanted.seeds[0], Path(folder))
            manifest = registry.record(seeds, report)
            self.shelf.challenge(Model(manifest, seeds.chosen.model.folder))  # scored live in shadow from now on
        answered = self.requests.answer(wanted.name, manifest.run, time.time_ns())
        about = {"name": manifest.name, "version": manifest.version, "run": manifest.run, "kind": manifest.kind}
        data = {"snapshot": stream.data.get("snapshot"), "schema_hash": manifest.schema_hash}
        return about | data | {"seeds": seeds.spread(), "answered_requests": answered}

    def evaluate(self, model: Model, stream: life.Stream, nominal: float) -> dict[str, Any]:
        """The document of a trial, with drift beside it."""
        trial = life.try_out(model, stream)
        if trial.broken["schema"]:
            raise manifests.Misfit(
                "this model was made for other features than these edges have; give edges of its kind"
            )
        return life.document(model, stream, trial, nominal) | {"drift": drift_of(stream, trial, nominal)}

    def ask(self, model: Model, stream: life.Stream, report: Mapping[str, Any], now_ns: int) -> Request | None:
        """A request to retrain where the champion's world has drifted; None else. Promotes nothing."""
        champion = self.shelf.champion()
        if champion is None or champion.manifest.id != model.manifest.id:
            return None
        drifts = [Drift(**one) for one in report["drift"]["drifts"]]
        snapshot = str(stream.data.get("snapshot", ""))
        return self.requests.ask(model.manifest.id, model.manifest.name, snapshot, drifts, now_ns)

    def model(self, which: str, folder: Path) -> Model:
        """By a folder, `champion`, `previous`, an alias or a number; what has to be fetched goes to `folder`."""
        if (Path(which) / manifests.MANIFEST).is_file():
            return manifests.load(Path(which))
        if which in ("champion", "previous"):
            found = self.shelf.champion() if which == "champion" else self.shelf.previous()
            if found is None:
                raise InputError(f"there is no {which} yet; `loomidi model promote` makes one")
            return found
        return self.registry.fetch(self.registry.find(self.name, which), folder)

    def compare(self, which: str, stream: life.Stream, settings: life.GateSettings, *, go: bool) -> life.Compared:
        """The gate; with `go`, through it where it is open. The answer is kept with the run's report."""
        with tempfile.TemporaryDirectory(prefix="loomidi-") as folder:
            challenger = self.model(which, Path(folder))
            if not go:
                return life.compare(self.shelf, challenger, stream, settings)
            compared = life.promote(self.registry, self.shelf, challenger, stream, settings)
        self._note_gate(compared)
        return compared

    def roll_back(self, because: str) -> manifests.Manifest:
        """The champion before, back again."""
        return life.roll_back(self.registry, self.shelf, because)

    def listing(self) -> dict[str, Any]:
        """Versions with their aliases, who scores live and who beside, the last of the history, open requests.

        Where MLflow is not installed, all but the versions, and `lacking` says so: what scores live does not need it.
        """
        versions, lacking = list[dict[str, Any]](), ""
        try:
            versions = [dataclasses.asdict(one) for one in self.registry.versions(self.name)]
        except EnvironmentLacks as error:
            lacking = str(error)
        return {
            "champion": _named(self.shelf.champion()),
            "challenger": _named(self.shelf.challenger()),
            "versions": versions,
            "lacking": lacking,
            "history": self.shelf.history()[-10:],
            "requests": [dataclasses.asdict(one) for one in self.requests.open()],
        }

    def report(self, which: str) -> dict[str, Any]:
        """The document of a version's run."""
        if which == "champion" and (champion := self.shelf.champion()) is not None and champion.manifest.run:
            return self.registry.document(champion.manifest.run, REPORT)
        return self.registry.document(self.registry.find(self.name, which).run, REPORT)

    def _note_gate(self, compared: life.Compared) -> None:
        run = compared.challenger.run
        if run:
            document = self.registry.document(run, REPORT)
            self.registry.attach(run, REPORT, document | {"gate": compared.gate.as_dict()})


def _named(model: Model | None) -> dict[str, str] | None:
    return None if model is None else {"id": model.manifest.id, "version": model.manifest.version}


def drift_of(stream: life.Stream, trial: life.Trial, nominal: float) -> dict[str, Any]:
    """The test beside what was learned from: features, alarms, and scores where river is installed."""
    settings, seen = DriftSettings(), stream.seen
    usual = usual_of(stream)
    drifts, psi = feature_drift(seen.values[: stream.train], seen.values[stream.calibrate :], stream.features, settings)
    told = int(np.sum(trial.alarms(nominal) & usual))
    drifts += alarm_drift(told, int(usual.sum()), nominal, settings)
    missing = ""
    try:
        changes = ScoreChanges(settings)
        before = medians(trial.before, _ticks(stream, stream.train, stream.calibrate))
        for value in before:  # what the calibration slice looked like is what it changes from
            changes.see(value)
        for value in medians(trial.strange, _ticks(stream, stream.calibrate, len(seen))):
            drifts += [dataclasses.replace(one, at=one.at - len(before)) for one in changes.see(value)]
    except EnvironmentLacks as lacks:
        missing = str(lacks)
    return {
        "psi": psi,
        "limit": settings.psi,
        "drifts": [dataclasses.asdict(one) for one in drifts[:50]],
        "missing": missing,
    }


def _ticks(stream: life.Stream, start: int, stop: int) -> list[tuple[int, int]]:
    """As rows counted from the first of them."""
    return [(first - start, last - start) for first, last in stream.ticks(start, stop)]


def recycled(lake: "Lake", state: Path, now_ns: int) -> list[life.Known]:
    """Outcomes of folds on this machine become labels; then all attacks that labels of the lake vouch for."""
    receipts = state / FILE_NAME
    if receipts.is_file():
        store = SqliteReceipts(receipts, read_only=True)
        labels = labels_of(store.all())
        store.close()
        try:
            kept = keep(lake, labels, now_ns)
            _log.info("outcomes kept as labels", rows=kept)
        except Conflict as held:  # a pipeline commits that table: the outcomes are taken the next time
            _log.warning("outcomes of folds were not kept as labels", cause=str(held))
    if "labels" not in lake.tables():
        return []
    return known_of(lake.read("labels"))


def known_of(labels: pa.Table) -> list[life.Known]:
    """Of labels, the incidents that somebody vouches for; where words differ, the last one counts."""
    last, times = dict[str, Mapping[str, Any]](), ("told", "first", "last")
    for name in times:  # a time in ns is no datetime
        labels = labels.set_column(labels.schema.get_field_index(name), name, labels[name].cast(pa.int64()))
    for row in sorted(labels.to_pylist(), key=lambda row: int(row["told"])):
        if row["attack"] is not None:
            last[row["incident"]] = row
    return [
        life.Known(row["pattern"], row["first"], row["last"], frozenset(_names(row["entities"])), row["held_out"])
        for row in last.values()
        if row["attack"]
    ]


def _names(entities: Sequence[str]) -> Iterable[str]:
    """Entity ids as features name ends: workloads and pods as they are, addresses by their network."""
    from loomidi.garden.graph.columns import networks, texts

    for entity in entities:
        kind, _, rest = entity.partition("/")
        if kind in ("host", "external"):
            yield from networks(texts(pa.array([rest])), 0).astype(str).tolist()
        else:
            yield entity
