"""The cluster, as far as this service looks into it: pods, Folds, and the way to propose one.

Called by `proposing`, `initiating` and `telling`. In: a client of its API. Out: plain objects; errors of
`ionic.errors`. The way into the cluster is `services.folds.folding`, the same that the pipeline takes: nothing here
acts.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from loomidi.contracts import Finding
from loomidi.fold.operator.views import FOLDS, View
from loomidi.fold.resources import Phase
from loomidi.insight.report import ProposedFold
from loomidi.ionic.act.kube import KubeApi, Patience
from loomidi.ionic.errors import ClusterAway, ClusterDenies, ClusterRejects
from loomidi.kit.clock import Clock
from loomidi.services.folds.folding import Folding
from loomidi.services.settings.answers import FoldingSettings

_MOST = 50  # Folds that are told of one finding
_BUSY = frozenset({408, 429})


class Cluster:
    """One, by one client, from one thread at a time."""

    def __init__(self, client: httpx.Client, settings: FoldingSettings, clock: Clock | None = None) -> None:
        self._client, self._api = client, KubeApi(client, Patience(tries=2), clock=clock)
        self._folding = Folding(client, settings, clock)

    def pod(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One, as it is now."""
        return self._api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def fold(self, namespace: str, name: str) -> dict[str, Any] | None:
        """One, told in short; None when there is none."""
        found = self._api.get(f"{FOLDS.rpartition('/')[0]}/namespaces/{namespace}/folds/{name}")
        return told(found) if found is not None else None

    def folds_of(self, finding_id: str) -> list[dict[str, Any]]:
        """All that answer a finding, in all namespaces."""
        params = {"fieldSelector": f"spec.because={finding_id}", "limit": str(_MOST)}
        try:
            answer = self._client.get(FOLDS, params=params)
        except httpx.HTTPError as error:
            raise ClusterAway(f"GET {FOLDS}: {type(error).__name__}: {error}; try again later") from error
        if answer.status_code in _BUSY or answer.is_server_error:
            raise ClusterAway(f"GET {FOLDS}: {answer.status_code}; try again later")
        if answer.status_code in (401, 403):
            raise ClusterDenies(f"GET {FOLDS}: {answer.status_code}; grant deployments/rbac/transformer.yaml")
        if answer.is_error:
            raise ClusterRejects(f"GET {FOLDS}: {answer.status_code} {' '.join(answer.text.split())[:200]}")
        return [told(one) for one in answer.json().get("items") or []]

    def propose(self, finding: Finding, proposed: ProposedFold) -> str:
        """What became of it, in a word of `Folding.propose`."""
        return self._folding.propose(finding, [proposed])


def told(fold: Mapping[str, Any]) -> dict[str, Any]:
    """A Fold in short. Before the operator has looked at it, it is Proposed."""
    view = View(fold)
    return {
        "namespace": view.metadata["namespace"],
        "name": view.metadata["name"],
        "action_type": str(view.spec.get("kind", "")),
        "target_resource": str(view.spec.get("target", "")),
        "mode": str(view.spec.get("mode", "shadow")),
        "phase": str(view.phase or Phase.PROPOSED),
        "message": str(view.status.get("message", "")),
    }
