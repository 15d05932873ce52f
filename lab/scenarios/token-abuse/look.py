"""Look through the Kubernetes API with the pod's own token, as common tools do after a break-in. look.py PAUSE_S.

Runs in a pod; ends by itself. Prints what it may read.
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
KINDS = (
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/nodes",
    "/api/v1/persistentvolumes",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/cronjobs",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
)


class Api:
    """The API as the pod's account."""

    def __init__(self) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._base = f"https://{host}:{port}"
        self._token = (ACCOUNT / "token").read_text()
        self._context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and document."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=data, headers=headers)  # noqa: S310 - https
        try:
            answer = urllib.request.urlopen(request, timeout=10, context=self._context)  # noqa: S310 - https
            with answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {}


def main() -> None:
    """What may I, what is there, which secrets does each namespace hold."""
    api, pause_s = Api(), float(sys.argv[1])
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "default"},
    }
    print("rules", api.ask("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)[0])
    spaces = []
    for path in KINDS:
        status, found = api.ask(path)
        print(path, status, len(found.get("items", [])))
        if path.endswith("/namespaces"):
            spaces = [item["metadata"]["name"] for item in found.get("items", [])]
        time.sleep(pause_s)
    for space in spaces:
        status, found = api.ask(f"/api/v1/namespaces/{space}/secrets")
        print(space, "secrets", status, len(found.get("items", [])))
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
