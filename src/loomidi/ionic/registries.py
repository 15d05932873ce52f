"""A client of OCI registries, for reading: manifests, blobs, and what refers to an image.

Called by the guard of images. In: an `Image` and a reference. Out: octets whose digest was computed here, never taken
from a header. A manifest decides which registry is asked, so `places` can bound that. Needs httpx, which is an extra.
Anonymous, with the token that a public registry asks for; a registry that wants a password is answered by a denial.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from loomidi.contracts import UsageError
from loomidi.ionic.errors import NotInRegistry, RegistryAway
from loomidi.ionic.images import DIGEST, HOST, Image

TIMEOUT_S = 10.0
MOST_OCTETS = 4 * 1024 * 1024  # the limit that registries themselves set for manifests
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_HOSTS = {"docker.io": "registry-1.docker.io"}
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """What lay under a reference."""

    digest: str
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object in it. Raises NotInRegistry when it is none."""
        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise NotInRegistry(f"{self.digest} is not JSON") from error
        if not isinstance(read, dict):
            raise NotInRegistry(f"{self.digest} is not a JSON object")
        return read


def read_places(told: Sequence[str]) -> dict[str, str]:
    """Host -> URL from `HOST` or `HOST=URL`. Raises UsageError."""
    places = {}
    for each in told:
        host, given, url = each.partition("=")
        address = url if given else f"https://{_HOSTS.get(host, host)}"
        parts = urlsplit(address)
        if not HOST.fullmatch(host) or parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{each!r} is no registry; write HOST, or HOST=URL with http:// or https://")
        places[host] = address
    return places


class Registries:
    """Asks the registry that an image names."""

    def __init__(
        self, places: Mapping[str, str] | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`places`: host -> URL. With any, only these are asked; without, each host by HTTPS."""
        self._places = dict(places or {})
        self._tokens: dict[tuple[str, str], str] = {}
        self._client = httpx.Client(
            timeout=TIMEOUT_S, trust_env=False, follow_redirects=True, max_redirects=3, transport=transport
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def manifest(self, image: Image, reference: str) -> Fetched:
        """By tag or digest. Raises NotInRegistry, RegistryAway."""
        body = self._get(image, f"manifests/{reference}", accept=_MANIFESTS)
        return _checked(body, reference)

    def blob(self, image: Image, digest: str) -> Fetched:
        """By digest. Raises NotInRegistry, RegistryAway."""
        if not DIGEST.fullmatch(digest):
            raise NotInRegistry(f"{digest[:100]!r} is no digest")
        return _checked(self._get(image, f"blobs/{digest}"), digest)

    def referrers(self, image: Image, digest: str) -> list[dict[str, Any]]:
        """Descriptors of what refers to a digest (OCI 1.1); by the tag where a registry has no such list."""
        try:
            body = self._get(image, f"referrers/{digest}")
        except NotInRegistry:
            try:
                body = self.manifest(image, digest.replace(":", "-", 1)).body
            except NotInRegistry:
                return []
        found = Fetched(digest, body).document().get("manifests")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def _place(self, host: str) -> str:
        if not self._places:
            return f"https://{_HOSTS.get(host, host)}"
        if host not in self._places:
            raise RegistryAway(
                f"{host} is not one of the listed registries; add it with --registry, or use another image"
            )
        return self._places[host].rstrip("/")

    def _get(self, image: Image, path: str, accept: str = "*/*") -> bytes:
        """The octets at a path of the image's repository."""
        url = f"{self._place(image.host)}/v2/{image.repository}/{path}"
        headers = {"Accept": accept}
        known = self._tokens.get((image.host, image.repository))
        try:
            status, body, challenge = self._read(url, headers | _bearer(known))
            if status == httpx.codes.UNAUTHORIZED:
                token = self._tokens[image.host, image.repository] = self._token(image, challenge)
                status, body, challenge = self._read(url, headers | _bearer(token))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RegistryAway(f"{image.host} does not answer: {type(error).__name__}: {error}") from error
        if status == httpx.codes.NOT_FOUND:
            raise NotInRegistry(f"{image.host} has no {image.repository} {path}")
        if status != httpx.codes.OK:
            raise RegistryAway(f"{image.host} answered {status} for {image.repository} {path}")
        return body

    def _read(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Status, body, challenge. Raises RegistryAway for a body that is too long to be what is asked for."""
        with self._client.stream("GET", url, headers=dict(headers)) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > MOST_OCTETS:
                    raise RegistryAway(f"{urlsplit(url).netloc} answered with more than {MOST_OCTETS} octets")
            return response.status_code, bytes(body), response.headers.get("WWW-Authenticate", "")

    def _token(self, image: Image, challenge: str) -> str:
        """What the registry asks for of everybody."""
        told = dict(_CHALLENGE.findall(challenge))
        realm = told.get("realm", "")
        if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in ("https", "http"):
            raise RegistryAway(f"{image.host} wants a password, and there is none to give")
        asked = {"service": told.get("service", ""), "scope": f"repository:{image.repository}:pull"}
        status, body, _ = self._read(str(httpx.URL(realm, params=asked)), {})
        given = Fetched(realm, body).document() if status == httpx.codes.OK else {}
        token = given.get("token") or given.get("access_token")
        if not isinstance(token, str):
            raise RegistryAway(f"{image.host} gives no token for {image.repository}: {status}")
        return token


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _checked(body: bytes, reference: str) -> Fetched:
    """The octets under their own digest, which has to be the one that was asked for, where one was."""
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if DIGEST.fullmatch(reference) and digest != reference:
        raise NotInRegistry(f"the registry gave {digest} for {reference}: it was tampered with")
    return Fetched(digest, body)
