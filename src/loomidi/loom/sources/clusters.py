"""How a Kubernetes API is reached: from a kubeconfig, or from inside the cluster by the pod's service account.

Called by `kubernetes`, and by `services` for the driver of `ionic.act.kube`. In: a path and the environment, handed
in. Out: an HTTP client with certificates and a token that is read again as it is renewed. Leaves requests to `listing`.
"""

import base64
import contextlib
import dataclasses
import os
import ssl
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from loomidi.contracts.errors import EnvironmentLacks

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# What is idle for longer is closed. An API server closes after 90 s; a handshake costs ten times what a request does.
_KEPT = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)
_RENEWED_S = 60.0  # bound tokens are renewed on disk long before they end


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and who we are."""

    server: str
    context: ssl.SSLContext
    token: str = ""
    token_file: Path | None = None

    def client(self, timeout_s: float = 30.0) -> httpx.AsyncClient:
        """Close it, or use it as a context."""
        auth = _Bearer(self.token, self.token_file) if self.token or self.token_file else None
        return httpx.AsyncClient(
            base_url=self.server, verify=self.context, timeout=timeout_s, trust_env=False, auth=auth
        )

    def blocking(self, timeout_s: float = 5.0) -> httpx.Client:
        """The same for who acts, one request after the other. Close it, or use it as a context."""
        auth = _Bearer(self.token, self.token_file) if self.token or self.token_file else None
        how: dict[str, Any] = {"timeout": timeout_s, "limits": _KEPT, "trust_env": False, "auth": auth}
        return httpx.Client(base_url=self.server, verify=self.context, **how)


class _Bearer(httpx.Auth):
    """Reads a token's file again once a minute."""

    def __init__(self, token: str, file: Path | None) -> None:
        self._token, self._file, self._read_at = token, file, -_RENEWED_S

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        now = time.monotonic()
        if self._file is not None and now - self._read_at >= _RENEWED_S:
            with contextlib.suppress(OSError):  # the one that we have may still do
                self._token, self._read_at = self._file.read_text(encoding="ascii").strip(), now
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def access(kubeconfig: Path | None, environment: Mapping[str, str], *, context: str = "") -> Access:
    """The kubeconfig that is named, else that of KUBECONFIG, else the pod's own account, else ~/.kube/config.

    Raises EnvironmentLacks when none can be used.
    """
    if kubeconfig is None and environment.get("KUBECONFIG"):
        kubeconfig = Path(environment["KUBECONFIG"].split(os.pathsep)[0])
    if kubeconfig is not None:
        return _from_kubeconfig(kubeconfig, context)
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(environment)
    home = Path.home() / ".kube" / "config"
    if not home.is_file():
        raise EnvironmentLacks("no cluster is known here; give --kubeconfig FILE, or run in a pod")
    return _from_kubeconfig(home, context)


def _in_cluster(environment: Mapping[str, str]) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    authority = SERVICE_ACCOUNT / "ca.crt"
    if not authority.is_file():
        raise EnvironmentLacks(f"{authority} is missing; set automountServiceAccountToken, or give --kubeconfig FILE")
    shown = f"[{host}]" if ":" in host else host
    secure = ssl.create_default_context(cafile=str(authority))
    return Access(f"https://{shown}:{port}", secure, token_file=SERVICE_ACCOUNT / "token")


def _from_kubeconfig(file: Path, context: str) -> Access:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        wanted = context or document["current-context"]
        chosen = _named(document, "contexts", "context", wanted)
        cluster = _named(document, "clusters", "cluster", chosen["cluster"])
        user = _named(document, "users", "user", chosen["user"])
        server, secure = str(cluster["server"]), _secure(cluster, user, file.parent)
    except (OSError, KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise EnvironmentLacks(f"{file} cannot be used as kubeconfig ({why}); try `kubectl config view`") from error
    if "exec" in user or "auth-provider" in user:
        hint = "give one with a token or a client certificate, such as a service account's"
        raise EnvironmentLacks(f"{file}: its user logs in by a plug-in, which is not run here; {hint}")
    token_file = (file.parent / user["tokenFile"]) if user.get("tokenFile") else None
    return Access(server, secure, str(user.get("token") or ""), token_file)


def _named(document: Any, group: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one[kind] for one in document[group] if one["name"] == name)
    return found


def _secure(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _octets(cluster, "certificate-authority", folder)
    secure = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
    certificate, key = _octets(user, "client-certificate", folder), _octets(user, "client-key", folder)
    if certificate and key:
        with _as_file(certificate + b"\n" + key) as name:
            secure.load_cert_chain(name)
    return secure


def _octets(entry: Mapping[str, Any], name: str, folder: Path) -> bytes:
    """Embedded, or in a file beside the kubeconfig."""
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if entry.get(name) else b""


@contextlib.contextmanager
def _as_file(octets: bytes) -> Iterator[str]:
    """ssl takes a key from a file only: mode 0600, gone at once."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(octets)
        file.flush()
        yield file.name
