"""Events as signed POSTs, one each, by the Standard Webhooks specification 1.0.

Called by `services.events`. In: letters. Out: requests with `webhook-id` (the same at each try: the receiver drops what
it has), `webhook-timestamp` and `webhook-signature` (HMAC-SHA256 over `id.timestamp.body`). A redirect is not followed.
2xx is yes; 408, 425, 429 and 5xx are not now, `Retry-After` is minded; everything else is no.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from loomidi.contracts import InputError, UsageError
from loomidi.loom.sinks.letters import Away, Letter, Undeliverable
from loomidi.loom.sinks.settings import WebhookSettings

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # octets of a secret, by the specification
_NOT_NOW = frozenset({408, 425, 429})
_LONGEST_WAIT_S = 3600.0  # a Retry-After beyond is not believed


def secret_of(text: str) -> bytes:
    """The key in a secret as it is handed out. Raises InputError for what is none."""
    try:
        key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the webhook's secret is not {_PREFIX} and Base64") from error
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise InputError(f"the webhook's secret has {len(key)} octets; {_SHORTEST} to {_LONGEST} are asked for")
    return key


def signature(key: bytes, letter_id: str, at_s: int, body: bytes) -> str:
    """`v1,` and the Base64 of the HMAC."""
    signed = hmac.new(key, f"{letter_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class WebhookSink:
    """One address."""

    name = "webhook"
    most = 1

    def __init__(self, settings: WebhookSettings, *, now_s: Callable[[], float] = time.time) -> None:
        """Raises UsageError for an address that is not safe, InputError for a secret that is none."""
        self._settings, self._now_s = settings, now_s
        _check(settings.url)
        self._key = _read(settings.secret)
        self._client: httpx.Client | None = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away or Undeliverable by what is answered."""
        for one in letters:
            self._post(one)

    def close(self) -> None:
        """The connection ends."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _post(self, letter: Letter) -> None:
        at_s = int(self._now_s())
        headers = {
            "content-type": "application/json",
            "webhook-id": letter.id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": signature(self._key, letter.id, at_s, letter.body),
        }
        try:
            answer = self._opened().post(self._settings.url, content=letter.body, headers=headers)
        except (httpx.TransportError, OSError) as error:
            self.close()
            raise Away("away", f"{self._where()}: {str(error) or type(error).__name__}") from error
        if answer.is_success:
            return
        said = f"{self._where()} answered {answer.status_code}"
        if answer.status_code in _NOT_NOW or answer.is_server_error:
            raise Away(f"http_{answer.status_code}", said, _after_s(answer.headers.get("retry-after", "")))
        raise Undeliverable(f"http_{answer.status_code}", said)

    def _where(self) -> str:
        """Without a path and query, which may hold a token."""
        return urlsplit(self._settings.url).hostname or ""

    def _opened(self) -> httpx.Client:
        if self._client is None:
            context = ssl.create_default_context(cafile=self._settings.tls_ca or None)
            self._client = httpx.Client(timeout=self._settings.timeout_s, verify=context, trust_env=False)
        return self._client


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback:
        raise UsageError("events.webhook.url: use https://; http:// is for loopback alone")


def _read(path: Path | None) -> bytes:
    if path is None:
        raise UsageError("events.webhook.secret: name the file with the shared secret; nothing is sent unsigned")
    try:
        return secret_of(path.expanduser().read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; it holds the webhook's secret") from error


def _after_s(text: str) -> float:
    """Seconds of a Retry-After; a date is not minded, our own pause is as good."""
    return min(float(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() else 0.0
