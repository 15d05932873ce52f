"""Jobs made from the shop's CronJob, as `kubectl create job --from` makes them.

Called by the python step of scenario.yaml.
"""

from typing import Any

from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import apply

_PATH = "/apis/batch/v1/namespaces/shop/jobs"
_END_S = 90.0


def start_jobs(stage: Any, jobs: int) -> None:
    """Start them together; say how many have completed when all have."""
    cron = stage.lookup.get(EntityRef("CronJob", "shop", "report"))
    spec = cron["spec"]["jobTemplate"]["spec"]
    names = [f"report-again-{number}" for number in range(1, jobs + 1)]
    made = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "shop", "name": name}, "spec": spec}
        for name in names
    ]
    apply.put(stage, made)
    stage.background("jobs", lambda: stage.until(lambda: _complete(stage, names), _END_S, "the jobs to complete"))


def _complete(stage: Any, names: list[str]) -> bool:
    done = sum(bool(stage.lab.api.get(f"{_PATH}/{name}").get("status", {}).get("succeeded")) for name in names)
    if done == len(names):
        stage.heard(f"jobs complete: {done}")
    return done == len(names)
