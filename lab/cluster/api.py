"""The Kubernetes API as plain dicts: what is not known yet is kept, nothing is modelled.

Called through `Lab.api`. In: paths as the API has them and JSON-able dicts. Out: dicts, lists of dicts, watch events.
Errors are `ApiError` (retry unchanged) or `ApiRefused` (do not), with the API's own words.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable

Object = dict[str, Any]
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
MANAGER = "loomidi-lab"


class ApiError(Retryable):
    """The API server could not be reached, or asks to come again."""

    status = 0


class ApiRefused(InputError):
    """The API server says no to this request; `status` is its HTTP status."""

    status = 0


class Api:
    """One client, safe to use from several threads."""

    def __init__(self, kubeconfig: Path, timeout_s: float = 30.0) -> None:
        """Raises EnvironmentLacks when the kubeconfig cannot be used."""
        self.server, context = _access(kubeconfig)
        self._client = httpx.Client(base_url=self.server, verify=context, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def get(self, path: str, **params: Any) -> Object:
        """One object, or a list object."""
        found: Object = self._ask("GET", path, params).json()
        return found

    def text(self, path: str, **params: Any) -> str:
        """What is no JSON: metrics, logs, /readyz."""
        return self._ask("GET", path, params).text

    def list(self, path: str, **params: Any) -> list[Object]:
        """The items of a list."""
        items: list[Object] = self.get(path, **params).get("items", [])
        return items

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        try:
            self.get(path)
        except ApiRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    def post(self, path: str, obj: Object) -> Object:
        """Create."""
        made: Object = self._ask("POST", path, {}, json=obj).json()
        return made

    def put(self, path: str, obj: Object) -> Object:
        """Replace."""
        made: Object = self._ask("PUT", path, {}, json=obj).json()
        return made

    def patch(self, path: str, obj: Any, kind: str = "merge") -> Object:
        """Change; `kind` merge, strategic, json or apply (server-side, as `loomidi-lab`)."""
        params = {"fieldManager": MANAGER, "force": "true"} if kind == "apply" else {}
        headers = {"Content-Type": _PATCHES[kind]}
        made: Object = self._ask("PATCH", path, params, content=json.dumps(obj), headers=headers).json()
        return made

    def delete(self, path: str, **params: Any) -> None:
        """Delete; what is gone already is fine."""
        try:
            self._ask("DELETE", path, params)
        except ApiRefused as error:
            if error.status != 404:
                raise

    def watch(self, path: str, resource_version: str = "", timeout_s: float = 300.0, **params: Any) -> Iterator[Object]:
        """Watch events ({type, object}), bookmarks too, until the server ends it. ERROR raises (410: relist)."""
        asked = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": int(timeout_s), **params}
        if resource_version:
            asked["resourceVersion"] = resource_version
        patience = httpx.Timeout(30.0, read=timeout_s + 30.0)
        try:
            with self._client.stream("GET", path, params=asked, timeout=patience) as response:
                _check_stream(response)
                yield from map(_event, response.iter_lines())
        except httpx.HTTPError as error:
            raise ApiError(f"the watch of {path} broke off: {error}; start it again") from error

    def _ask(self, method: str, path: str, params: dict[str, Any], **more: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, params=params, **more)
        except httpx.HTTPError as error:
            raise ApiError(
                f"the API server at {self.server} does not answer: {error}; see `loomidi-lab status`"
            ) from error
        if response.is_error:
            raise _error(response)
        return response


def _check_stream(response: httpx.Response) -> None:
    if response.is_error:
        response.read()
        raise _error(response)


def _event(line: str) -> Object:
    event: Object = json.loads(line)
    if event["type"] == "ERROR":
        raise _status(event["object"].get("code", 500), event["object"].get("message", ""))
    return event


def _error(response: httpx.Response) -> ApiError | ApiRefused:
    try:
        message = response.json().get("message", response.text)
    except ValueError:
        message = response.text
    return _status(response.status_code, f"{response.request.method} {response.request.url.path}: {message}")


def _status(code: int, message: str) -> ApiError | ApiRefused:
    error = (ApiError if code in _AGAIN else ApiRefused)(
        f"the API server says {code}: {' '.join(message.split())[:500]}"
    )
    error.status = code
    return error


def _access(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    import yaml

    try:
        document = yaml.safe_load(kubeconfig.read_text())
        context = next(c["context"] for c in document["contexts"] if c["name"] == document["current-context"])
        cluster = next(c["cluster"] for c in document["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in document["users"] if u["name"] == context["user"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        pair = base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
    except (OSError, KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        what = "one with its certificates embedded (`kubectl config view --raw --flatten`)"
        raise EnvironmentLacks(f"{kubeconfig} cannot be used ({str(error) or 'incomplete'}); give {what}") from error
    secure = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile(
        suffix=".pem"
    ) as file:  # ssl takes a key from a file only; mode 0600, gone at once
        file.write(pair)
        file.flush()
        secure.load_cert_chain(file.name)
    return str(cluster["server"]), secure
