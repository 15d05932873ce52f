"""An API server for the tests of the custom resources: as objects, as tables, and through kubectl.

Called by the `conftest` of this folder. Leaves starting and stopping to `tests.integration.kube.servers`.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import tools
from loomidi_lab.cluster.api import Api, ApiRefused
from tests.integration.kube.servers import Server, kube_server

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class Kube:
    """An API server that answers: as objects, as tables, and through kubectl."""

    def __init__(self, server: Server) -> None:
        self.kubeconfig = server.kubeconfig
        self.api = Api(self.kubeconfig)
        self._http = server.admin()

    def table(self, path: str) -> list[dict[str, Any]]:
        """What `kubectl get` shows, a row a dict from column to cell."""
        answer = self._http.get(path, headers={"Accept": TABLE}, params={"includeObject": "None"})
        found = answer.raise_for_status().json()
        names = [column["name"] for column in found["columnDefinitions"]]
        return [dict(zip(names, row["cells"], strict=True)) for row in found.get("rows") or ()]

    def apply(self, path: str, obj: dict[str, Any], manager: str) -> None:
        """Server-side apply under a name of one's own, without force."""
        kind = {"Content-Type": "application/apply-patch+yaml"}
        self._http.patch(path, json=obj, headers=kind, params={"fieldManager": manager}).raise_for_status()

    def dry_run(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """What would be stored if it were posted."""
        answer = self._http.post(path, json=obj, params={"dryRun": "All"})
        if answer.is_error:
            raise ApiRefused(answer.text)
        made: dict[str, Any] = answer.json()
        return made

    def kubectl(self, *arguments: str) -> str:
        """Standard output of the real kubectl."""
        command = [str(tools.binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        home = {**os.environ, "HOME": str(self.kubeconfig.parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self.api.close()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Kube]:
    """An API server over its own etcd; skips where the binaries are missing."""
    try:
        tools.binary("kubectl")
    except EnvironmentLacks as error:
        pytest.skip(f"no API server here: {error}")
    with kube_server(folder, controllers=False) as server, contextlib.closing(Kube(server)) as kube:
        yield kube
