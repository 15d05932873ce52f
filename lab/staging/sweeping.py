"""Leftovers of runs whose runner died: taken back by their journals, then what still carries a run's marks is deleted.

Called before every run and by the command `sweep`. In: a lab. Out: a line for each thing that was swept. Runs that are
still alive are left alone.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.staging import steps
from loomidi_lab.staging.drawing import draw
from loomidi_lab.staging.journals import Journal, lives
from loomidi_lab.staging.loading import load
from loomidi_lab.staging.observing import Observer
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.stages import RUNNER, SCENARIO, Stage, journals_of, unwind
from loomidi_lab.staging.targets import collection, path_of

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

_KINDS = (
    "Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "Pod", "Service", "ConfigMap", "Secret",
    "ServiceAccount", "NetworkPolicy", "RoleBinding", "Role", "ClusterRoleBinding", "ClusterRole",
    "HorizontalPodAutoscaler", "PodDisruptionBudget", "PersistentVolumeClaim", "Namespace",
)  # fmt: skip


def sweep(lab: "Lab") -> list[str]:
    """Take back what dead runs left. Raises nothing for a thing that resists: it is told and tried again next time."""
    swept = list(_journals(lab))
    return swept + (list(_marked(lab)) if swept else [])


def sweep_all(lab: "Lab") -> list[str]:
    """The same, looking for marks also where no journal is."""
    return [*_journals(lab), *_marked(lab)]


def _journals(lab: "Lab") -> Iterator[str]:
    folder = journals_of(lab)
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        journal = Journal(path)
        heading, _ = journal.read()
        if lives(str(heading.get("runner", ""))):
            continue
        failures = [*unwind(lab, journal), *_own_undo(lab, heading)]
        if not failures:
            journal.close()
        trouble = f" (not yet: {'; '.join(failures)})" if failures else ""
        yield f"a run of {heading.get('scenario', path.stem)} that was cut off{trouble}"


def _own_undo(lab: "Lab", heading: Mapping[str, Any]) -> Iterator[str]:
    """The undo phase that the scenario itself has, drawn again by its seed."""
    try:
        drawn = draw(load(str(heading.get("scenario", ""))), int(heading.get("seed", 0)))
    except LoomidiError:  # of another version of the lab: its journal has been carried out, more cannot be known
        return
    stage = Stage(lab, drawn, Observer(lab))
    stage.undoing = True
    for step in drawn.phases["undo"]:
        try:
            steps.perform(stage, step)
        except LoomidiError as error:
            yield str(error)
    stage.take_back()


def _marked(lab: "Lab") -> Iterator[str]:
    for kind in _KINDS:
        for one in lab.api.list(collection(kind)):
            metadata: dict[str, Any] = one["metadata"]
            marks = metadata.get("annotations") or {}
            owned = SCENARIO not in marks or "ownerReferences" in metadata  # what is owned goes with its owner
            if owned or lives(marks.get(RUNNER, "")) or "deletionTimestamp" in metadata:
                continue
            entity = EntityRef(kind, metadata.get("namespace", ""), metadata["name"])
            params = {"gracePeriodSeconds": "0"} if kind == "Pod" else {"propagationPolicy": "Background"}
            try:
                lab.api.delete(path_of(entity), **params)
            except LoomidiError as error:
                yield f"{entity}: not yet: {error}"
            else:
                yield str(entity)
