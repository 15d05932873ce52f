"""Callers that try again without end, and how many calls come of each one that is wanted.

Called by the python steps of scenario.yaml.
"""

from typing import Any

from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import patch
from loomidi_lab.staging.symptoms.metric import samples
from loomidi_lab.staging.targets import is_ready

_ROLLOUT_S = 90.0


def without_budget(stage: Any, deployments: list[str], attempts: int) -> None:
    """Set retries without budget and breaker on the callers, and wait for their rollouts."""
    wanted = {
        "RETRY_ATTEMPTS": str(attempts),
        "RETRY_BUDGET_RATIO": "100",
        "BREAKER_FAILURES": "0",
        "CALL_TIMEOUT_S": "0.5",
    }
    variables = [{"name": name, "value": value} for name, value in wanted.items()]
    for name in deployments:
        body = {"spec": {"template": {"spec": {"containers": [{"name": name, "env": variables}]}}}}
        patch.perform(stage, {"entity": {"kind": "Deployment", "namespace": "shop", "name": name}, "body": body})
    for name in deployments:
        _await_rollout(stage, name)


def amplification(stage: Any, callers: list[str], upstream: str, seconds: float) -> None:
    """Watch for a while, then say how many attempts were sent for a hundred calls that were wanted."""
    before = _calls(stage, callers, upstream)
    stage.pause(float(seconds))
    attempts = repeats = 0.0
    for pod, now in _calls(stage, callers, upstream).items():
        then = before.get(pod, (0.0, 0.0))
        attempts, repeats = attempts + now[0] - then[0], repeats + now[1] - then[1]
    wanted = max(1.0, attempts - repeats)
    stage.heard(
        f"{attempts:.0f} attempts for {wanted:.0f} calls; amplification in percent: {100 * attempts / wanted:.0f}"
    )


def _calls(stage: Any, callers: list[str], upstream: str) -> dict[str, tuple[float, float]]:
    """Of each pod: attempts that have ended, and how many of all were repeats."""
    found = {}
    for caller in callers:
        for pod in filter(is_ready, stage.lookup.pods(EntityRef("Deployment", "shop", caller))):
            name = pod["metadata"]["name"]
            text = stage.lab.api.text(f"/api/v1/namespaces/shop/pods/{name}:8080/proxy/metrics")
            attempts = sum(samples(text, "shop_upstream_seconds_count", {"upstream": upstream}))
            found[name] = attempts, sum(samples(text, "shop_retries_total", {"upstream": upstream, "outcome": "sent"}))
    return found


def _await_rollout(stage: Any, name: str) -> None:
    def done() -> bool:
        found = stage.lookup.get(EntityRef("Deployment", "shop", name)) or {}
        status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
        parts = ("updatedReplicas", "readyReplicas", "replicas")
        return bool(seen and all(status.get(part) == wanted for part in parts))

    stage.until(done, _ROLLOUT_S, f"the rollout of {name}")
