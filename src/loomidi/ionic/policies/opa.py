"""An OPA server by its REST API: policies put, read, taken out, asked.

Called by `rego_judging` (in shadow) and by `engines` (in force). In: a client made by `services`. Out: what the server
holds and answers, or an error of this house with the server's own words. Policies of ours have ids under `loomidi/`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from loomidi.ionic.errors import BadPolicy, EngineAway

POLICIES, SHADOWS = "loomidi/policy/", "loomidi/shadow/"
_TOLD = 20  # errors of a compiler that are told


class Opa:
    """One server."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def version(self) -> str:
        """As it says of itself; empty where it does not."""
        response = self._ask("POST", "/v1/query", json={"query": "version := opa.runtime().version"})
        found = response.json().get("result") if response.is_success else None
        return str(found[0].get("version", "")) if found else ""

    def read(self, identity: str) -> str | None:
        """The text of a policy, None when there is none."""
        response = self._ask("GET", _path(identity))
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return str(_result(response)["raw"])

    def packages(self) -> dict[str, str]:
        """Id -> package, of every policy that it holds."""
        listed = _result(self._ask("GET", "/v1/policies"))
        return {str(one["id"]): _package(one) for one in listed}

    def put(self, identity: str, text: str) -> None:
        """Compile it and have it in force. Raises BadPolicy with the compiler's errors."""
        sent = {"content": text.encode(), "headers": {"Content-Type": "text/plain"}}
        response = self._ask("PUT", _path(identity), **sent)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise BadPolicy(_errors(response))
        _checked(response)

    def delete(self, identity: str) -> None:
        """One that is gone is fine."""
        response = self._ask("DELETE", _path(identity))
        if response.status_code != httpx.codes.NOT_FOUND:
            _checked(response)

    def ask(self, package: str, question: Mapping[str, Any]) -> Any:
        """The document of a package; empty where nothing in it is defined."""
        response = self._ask("POST", "/v1/data/" + package.replace(".", "/"), json={"input": question})
        if response.status_code == httpx.codes.BAD_REQUEST or response.status_code == 500:
            raise BadPolicy(_errors(response))
        return _checked(response).json().get("result", {})

    def _ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **sent)
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EngineAway(f"OPA at {self._client.base_url} does not answer ({why}); see that it runs") from error


def _path(identity: str) -> str:
    return "/v1/policies/" + quote(identity, safe="/")


def _checked(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        asked = f"{response.request.method} {response.request.url.path}"
        raise EngineAway(f"OPA answers {asked} with {response.status_code}: {_words(response)[:500]}")
    return response


def _result(response: httpx.Response) -> Any:
    try:
        return _checked(response).json()["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineAway(f"{response.request.url} does not answer as OPA would; name an OPA server") from error


def _package(listed: Mapping[str, Any]) -> str:
    terms = listed.get("ast", {}).get("package", {}).get("path", [])
    return ".".join(str(term.get("value")) for term in terms[1:])


def _errors(response: httpx.Response) -> list[str]:
    """What the compiler says, each with its place."""
    try:
        body = response.json()
        found = [
            f"line {one.get('location', {}).get('row', '?')}: {one.get('code', '')}: {one.get('message', '')}"
            for one in body.get("errors", [])
        ]
        return found[:_TOLD] or [str(body.get("message", ""))]
    except (ValueError, AttributeError):
        return [_words(response)]


def _words(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:500]
