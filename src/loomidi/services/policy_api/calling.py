"""The client of the policy API, for the command line.

Called by `conductor.policy_calls`. In: where the API is and a token. Out: documents; a problem as an error of the tree,
whose type says the exit code: what the policy itself is at fault for is Refused, all else is for the caller to mend.
"""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from loomidi.contracts import EnvironmentLacks, InputError, Refused, Retryable, UsageError

ANSWER_S = 180.0  # a Kyverno policy is asked about some 160 samples, and may wait behind others
_REFUSED = frozenset({409, 422})


class PolicyClient:
    """One API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def deploy(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """POST /policy/deploy."""
        return self._ask("POST", "/policy/deploy", document)

    def test(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """POST /policy/test."""
        return self._ask("POST", "/policy/test", document)

    def status(self, name: str) -> dict[str, Any]:
        """GET /policy/status/{name}."""
        return self._ask("GET", f"/policy/status/{quote(name, safe='')}")

    def policies(self) -> dict[str, Any]:
        """GET /policy."""
        return self._ask("GET", "/policy")

    def versions(self, name: str) -> dict[str, Any]:
        """GET /policy/{name}/versions."""
        return self._ask("GET", f"/policy/{quote(name, safe='')}/versions")

    def version(self, name: str, number: int) -> dict[str, Any]:
        """GET /policy/{name}/versions/{number}."""
        return self._ask("GET", f"/policy/{quote(name, safe='')}/versions/{number}")

    def diff(self, name: str, between: Mapping[str, int]) -> dict[str, Any]:
        """GET /policy/{name}/diff."""
        query = "&".join(f"{side}={number}" for side, number in between.items())
        return self._ask("GET", f"/policy/{quote(name, safe='')}/diff{'?' if query else ''}{query}")

    def rollback(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """POST /policy/{name}/rollback."""
        return self._ask("POST", f"/policy/{quote(name, safe='')}/rollback", document)

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path.lstrip("/"), json=document)
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            hint = "start it with `loomidi serve policy`, or name it with --url"
            raise Retryable(f"no policy API at {self._client.base_url} ({why}); {hint}") from error
        try:
            found = response.json()
        except ValueError as error:
            raise InputError(f"{response.url} does not answer as a policy API would; name one with --url") from error
        if response.is_success and isinstance(found, dict):
            return found
        raise _error(response.status_code, found if isinstance(found, dict) else {})


def _error(status: int, problem: Mapping[str, Any]) -> Exception:
    reasons = problem.get("reasons") or ()
    detail = str(problem.get("detail", f"answer {status}"))
    more = [str(reason) for reason in reasons if str(reason) not in detail]
    told = "; ".join([detail, *more])
    if status in _REFUSED:
        return Refused(told)
    if status in (429, 503):
        return Refused(told) if problem.get("reason") == "not-in-force" else Retryable(told)
    return UsageError(told) if status in (401, 403, 404) else InputError(told)


@contextlib.contextmanager
def policy_client(url: str, token_file: Path | None, ca_file: Path | None) -> Iterator[PolicyClient]:
    """Raises EnvironmentLacks for a file that cannot be used, UsageError for what is no URL."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {url}: give one such as http://127.0.0.1:8082/policy-api")
    try:
        headers = {"Authorization": f"Bearer {_first(token_file)}"} if token_file else {}
        verify = ssl.create_default_context(cafile=ca_file)
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise EnvironmentLacks(f"{token_file or ca_file}: cannot be used ({error}); name a readable file") from error
    base = url.rstrip("/") + "/"
    with httpx.Client(base_url=base, headers=headers, verify=verify, timeout=ANSWER_S, trust_env=False) as client:
        yield PolicyClient(client)


def _first(file: Path) -> str:
    """The first token of a file such as the service has."""
    lines = [line.strip() for line in file.read_text(encoding="ascii").splitlines()]
    return next(iter([line for line in lines if line and not line.startswith("#")]))
