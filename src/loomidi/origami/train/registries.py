"""Runs, models and their aliases in MLflow: the only home of mlflow.

Called by `services.anomalies.modelling` and `promoting`. In: a folder (SQLite and files) or the URL of a server; what a
training gave. Out: runs with params, metrics by seed and artefacts; versions of a registered model; `champion`,
`challenger`. What scores live is not here but in `scoring.champions`: nothing that runs needs MLflow.
"""

import dataclasses
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi.origami.scoring import manifests
from loomidi.origami.scoring.manifests import Manifest, Model
from loomidi.origami.train.seeding import Seeds, limits

CHAMPION, CHALLENGER = "champion", "challenger"
_EXPERIMENT, _ARTEFACT, _FILES = "loomidi", "model", "files"
_TAGS = ("kind", "schema_hash", "seed")


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One registered model."""

    name: str
    version: str
    run: str
    aliases: tuple[str, ...]
    kind: str
    schema_hash: str
    snapshot: str
    made_ms: int


class Registry:
    """Of one installation, or of a server that many share."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """`folder`: where SQLite and artefacts lie without a `url`. Raises EnvironmentLacks without mlflow."""
        self._mlflow = _mlflow()
        self._files = ""
        if not url:
            folder.mkdir(parents=True, exist_ok=True)
            url, self._files = f"sqlite:///{folder.absolute() / 'mlflow.db'}", (folder.absolute() / "runs").as_uri()
        self.url = url
        self._client = self._mlflow.MlflowClient(tracking_uri=url, registry_uri=url)

    def record(self, seeds: Seeds, report: Mapping[str, Any]) -> Manifest:
        """One training as a run and a new version, aliased `challenger`. Returns its manifest with both named."""
        model = seeds.chosen.model
        with self._told():
            run = self._client.create_run(self._experiment(), run_name=f"{model.manifest.name}-{model.manifest.kind}")
            run_id = run.info.run_id
            try:
                self._describe(run_id, seeds, report)
                manifest = self._upload(run_id, model)
                version = self._register(run_id, manifest)
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id, "FINISHED")
        return dataclasses.replace(manifest, version=version)

    def attach(self, run: str, name: str, document: Mapping[str, Any]) -> None:
        """Put a JSON document beside a run."""
        with self._told():
            self._client.log_dict(run, dict(document), name)

    def document(self, run: str, name: str) -> dict[str, Any]:
        """A JSON document of a run. Raises InputError where there is none."""
        with self._told(f"run {run}: {name}"), tempfile.TemporaryDirectory() as folder:
            path = Path(self._client.download_artifacts(run, name, folder))
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found

    def fetch(self, version: Version, folder: Path) -> Model:
        """The files of a version, checked. Raises Misfit where they do not fit."""
        with self._told(f"{version.name} {version.version}"):
            got = Path(self._client.download_artifacts(version.run, f"{_ARTEFACT}/{_FILES}", str(folder)))
        model = manifests.load(got)
        return Model(dataclasses.replace(model.manifest, version=version.version), model.folder)

    def versions(self, name: str) -> list[Version]:
        """All of a registered model, the newest first; none where nothing was trained."""
        with self._told():
            aliases = self._aliases(name)
            found = self._client.search_model_versions(f"name = '{_plain(name)}'")
            rows = [_version(one, aliases) for one in found]
        return sorted(rows, key=lambda one: -int(one.version))

    def find(self, name: str, which: str) -> Version:
        """By number or alias. Raises InputError, naming those that are there."""
        there = self.versions(name)
        for one in there:
            if which == one.version or which in one.aliases:
                return one
        told = ", ".join(one.version for one in there) or "none yet: train one first"
        raise InputError(f"{name} has no version or alias {which!r}; there are {told}")

    def alias(self, name: str, alias: str, version: str) -> None:
        """Let it name this version; "" takes it away."""
        with self._told():
            if version:
                self._client.set_registered_model_alias(name, alias, version)
            elif alias in self._aliases(name):
                self._client.delete_registered_model_alias(name, alias)

    def settle(self, manifest: Manifest | None) -> None:
        """`champion` names what scores live: also after a model came back by itself, where there is no MLflow."""
        if manifest is None or not manifest.version:
            return
        there = {one.version: one for one in self.versions(manifest.name)}
        if manifest.version in there and CHAMPION not in there[manifest.version].aliases:
            self.alias(manifest.name, CHAMPION, manifest.version)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(_EXPERIMENT, artifact_location=self._files or None))

    def _describe(self, run_id: str, seeds: Seeds, report: Mapping[str, Any]) -> None:
        """Params, metrics (the step is the seed; mean, deviation and worst without), documents."""
        from mlflow.entities import Metric, Param, RunTag

        manifest, now_ms = seeds.chosen.model.manifest, time.time_ns() // 1_000_000
        data = {f"data.{name}": value for name, value in manifest.data.items() if not isinstance(value, Mapping)}
        settings = {f"settings.{name}": value for name, value in manifest.settings.items()}
        given = {
            "kind": manifest.kind,
            "features": len(manifest.features),
            "nominal": manifest.risk,
            **settings,
            **data,
        }
        metrics = [
            Metric(name, float(value), now_ms, int(row["seed"]))
            for row in seeds.rows
            for name, value in row.items()
            if name != "seed"
        ]
        metrics += [
            Metric(f"{name}.{figure}", value, now_ms, 0)
            for name, figures in seeds.spread().items()
            for figure, value in figures.items()
        ]
        metrics += [
            Metric(f"trainer.{name}", value, now_ms, one.model.manifest.seed)
            for one in seeds.trained
            for name, value in one.metrics.items()
        ]
        tags = {"schema_hash": manifest.schema_hash, "snapshot": manifest.data.get("snapshot", "")}
        self._client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(name, str(value)[:500]) for name, value in given.items()],
            tags=[RunTag(f"loomidi.{name}", str(value)) for name, value in tags.items()],
        )
        self._client.log_dict(run_id, dict(report), "report.json")
        self._client.log_dict(run_id, {"table": limits(seeds.chosen)}, "calibration.json")

    def _upload(self, run_id: str, model: Model) -> Manifest:
        """The folder as an MLflow model: MLmodel with signature and flavour, the files beside it."""
        from mlflow.models import Model as Flavoured
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        manifest = dataclasses.replace(model.manifest, run=run_id)
        single = np.dtype(np.float32)
        rows = Schema([TensorSpec(single, (-1, len(manifest.features)))])
        signature = ModelSignature(inputs=rows, outputs=Schema([TensorSpec(single, (-1,))]))
        about = {"files": _FILES, "kind": manifest.kind, "schema_hash": manifest.schema_hash}
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / _ARTEFACT
            shutil.copytree(model.folder, root / _FILES)
            manifests.write_manifest(root / _FILES, manifest)
            flavoured = Flavoured(artifact_path=_ARTEFACT, run_id=run_id, signature=signature)
            flavoured.add_flavor("loomidi", **about)
            flavoured.save(str(root / "MLmodel"))
            self._client.log_artifacts(run_id, str(root), _ARTEFACT)
        return manifest

    def _register(self, run_id: str, manifest: Manifest) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(manifest.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{_ARTEFACT}"
        tags = {name: str(getattr(manifest, name)) for name in _TAGS} | {"snapshot": str(manifest.data.get("snapshot"))}
        made = self._client.create_model_version(manifest.name, source, run_id, tags=tags)
        self._client.set_registered_model_alias(manifest.name, CHALLENGER, made.version)
        return str(made.version)

    def _aliases(self, name: str) -> dict[str, str]:
        """Alias -> version; none where there is no such model."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {str(alias): str(version) for alias, version in dict(found).items()}

    @contextmanager
    def _told(self, what: str = "") -> Iterator[None]:
        """Errors of MLflow in one line."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            where = f"MLflow at {self.url}{f', {what}' if what else ''}"
            raise EnvironmentLacks(f"{where}: {told}; is it there, and of a fitting version?") from error


def _version(found: Any, aliases: Mapping[str, str]) -> Version:
    mine = tuple(sorted(alias for alias, version in aliases.items() if version == str(found.version)))
    tags = dict(found.tags)
    told = (tags.get("kind", ""), tags.get("schema_hash", ""), tags.get("snapshot", ""))
    return Version(found.name, str(found.version), str(found.run_id), mine, *told, int(found.creation_timestamp))


def _plain(name: str) -> str:
    """A name that cannot end its own quotes."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise InputError(f"{name!r} is no name of a model; use letters, digits, dot, hyphen, underscore")
    return name


def _mlflow() -> Any:
    """Without telemetry, progress bars and what it has to say of its own tables."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"models need {error.name}: pip install 'loomidi[learn]' (docs/models.md)") from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return mlflow
