"""Gives orders a wall clock that can be moved while it runs: a small library in front of the C library's own.

Called by the python step of scenario.yaml. The library is compiled here; it needs gcc.
"""

import base64
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import apply, patch

_ORDERS = EntityRef("Deployment", "shop", "orders")
_NAME = "orders-locale"


def movable_clock(stage: Any) -> None:
    """Roll orders out with the library; the clock stays right until somebody writes seconds into /tmp/skew."""
    library = base64.b64encode(_compiled(stage.folder / "skew.c")).decode()
    metadata = {"namespace": "shop", "name": _NAME}
    objects = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {"clock.so": library}}]
    apply.put(stage, objects)
    container = {
        "name": "orders",
        "env": [{"name": "LD_PRELOAD", "value": "/opt/clock/clock.so"}, {"name": "SKEW_FILE", "value": "/tmp/skew"}],  # noqa: S108 - in the pod
        "volumeMounts": [{"name": "clock", "mountPath": "/opt/clock"}],
    }
    volumes = [{"name": "clock", "configMap": {"name": _NAME, "defaultMode": 0o555}}]
    body = {"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}}
    patch.perform(stage, {"entity": _ORDERS.as_dict(), "body": body})
    stage.until(lambda: _rolled_out(stage), 60.0, "the rollout of orders")


def _compiled(source: Path) -> bytes:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise EnvironmentLacks("clock-skew needs a C compiler; run: apt-get install gcc")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "clock.so"
        words = [compiler, "-Wall", "-Werror", "-O2", "-s", "-shared", "-fPIC", "-o", str(made), str(source)]
        subprocess.run(words, check=True)
        return made.read_bytes()


def _rolled_out(stage: Any) -> bool:
    found = stage.lookup.get(_ORDERS) or {}
    status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
    parts = ("updatedReplicas", "readyReplicas", "replicas")
    return bool(seen and all(status.get(part) == wanted for part in parts))
