"""The chart as the real helm renders it, and what its values may be.

Used by the tests of this folder and of the lab. In: values. Out: objects, or the last words of a helm that refuses.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import tools
from tools.chart import CHART, DEPLOYMENTS

Object = dict[str, Any]
RELEASE, NAMESPACE = "loomidi", "loomidi-system"
SHIPPED = sorted([*DEPLOYMENTS.glob("cloud/*.yaml"), *DEPLOYMENTS.glob("minikube/*.yaml")])
EVERYTHING: Mapping[str, Any] = {
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "protected": ["10.0.0.0/8"],
    "bus": {"tlsSecret": "bus-ca"},
    "nats": {"replicas": 3, "persistence": {"storageClass": "fast"}},
    "lake": {"warehouse": "s3://lake/loomidi", "catalog": "https://catalog.example", "s3": {"secret": "lake"}},
    "agent": {
        "pin": True,
        "hostState": "/var/lib/loomidi",
        "metrics": {"expose": True},
        "channel": {"enabled": True, "secret": "channel"},
    },
    "pipeline": {
        "kubeletMetrics": True,
        "config": {"lake": {"commit_age_s": 5, "durable": False}, "windows": {"sizes_s": [10, 60]}},
        "ingest": {"enabled": True, "tlsSecret": "ingest-tls", "tokenSecret": "ingest-tokens"},
        "persistence": {"keep": True},
    },
    "operator": {
        "approvers": [{"name": "alice", "key": "ed25519:x"}],
        "kinds": ["ISOLATE_POD", "CORDON"],
        "records": {"claim": "r"},
    },
    "floor": {"enabled": True},
    "policy": {"enabled": True, "tlsSecret": "policy-tls", "tokenSecret": "policy-tokens"},
    "transformer": {"enabled": True, "tlsSecret": "transformer-tls", "tokenSecret": "transformer-tokens"},
    "opa": {"enabled": True, "image": "openpolicyagent/opa:1.10.0-static"},
    "networkPolicy": {"nodes": ["10.1.0.0/16"], "external": ["192.0.2.0/24"]},
    "serviceMonitor": {"enabled": True, "labels": {"team": "security"}},
}


def helm() -> str:
    """The binary that the lab has built. Raises EnvironmentLacks."""
    return str(tools.binary("helm"))


def lacking() -> str:
    """Why there is no helm; '' when there is."""
    try:
        helm()
    except EnvironmentLacks as error:
        return str(error)
    return ""


def templated(values: Mapping[str, Any], *files: Path, version: str = "1.36.0") -> subprocess.CompletedProcess[str]:
    """`helm template`."""
    words = [helm(), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", version]
    words += [word for file in files for word in ("--values", str(file))]
    text = yaml.safe_dump(dict(values))
    return subprocess.run([*words, "--values", "-"], input=text, capture_output=True, text=True, check=False)


def rendered(values: Mapping[str, Any], *files: Path, version: str = "1.36.0") -> list[Object]:
    """Every object."""
    done = templated(values, *files, version=version)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def pods(objects: Sequence[Object]) -> dict[str, Object]:
    """The pod that each workload makes, by kind and name."""
    workloads = of_kind(objects, "DaemonSet", "Deployment", "StatefulSet", "Job")
    return {f"{one['kind']}/{one['metadata']['name']}": one["spec"]["template"] for one in workloads}
