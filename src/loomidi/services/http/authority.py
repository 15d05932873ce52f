"""Who may call: loopback without a token; elsewhere TLS and a bearer token or a client certificate, refused otherwise.

Called by `serving` (which refuses to start an open door) and by `routing` (for each request). In: an address, files of
the certificate and of tokens, the scope of a request. Out: nothing, or the error. Leaves the TLS handshake, and with
it the check of client certificates, to the server.
"""

import dataclasses
import enum
import functools
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError, UsageError
from loomidi.kit import logging
from loomidi.services.http.problems import Problem

_log = logging.logger("services.http")
_SHORTEST_TOKEN = 16  # characters; what is shorter can be guessed over the network
_LOOK_AGAIN_S = 1.0  # between two looks at the file of tokens
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="loomidi"'}


class Authority(enum.Enum):
    """What a route asks of its caller."""

    ANYONE = "anyone"  # descriptions of the interface
    SENDER = "sender"  # whoever may hand in data
    READER = "reader"  # whoever may see what is there
    RULER = "ruler"  # whoever may change what is in force


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """Where a service listens and what protects it."""

    host: str = "127.0.0.1"
    # Address to listen on. Anything but loopback needs TLS and a token or client certificates.
    port: int = 8080
    # TCP port; 0: one that is free.
    token_file: Path | None = None
    # Bearer tokens, one a line, read again when the file changes: add the new one, move the clients, take the old away.
    tls_cert: Path | None = None
    # PEM, the certificate and its chain.
    tls_key: Path | None = None
    # PEM, the certificate's key.
    client_ca: Path | None = None
    # PEM; with it every client must show a certificate of this authority. With a token file both are needed.

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Raises UsageError for a door that would stand open, InputError for a file that is not there."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both --tls-cert and --tls-key; give the other one too")
        if self.client_ca is not None and self.tls_cert is None:
            raise UsageError("--client-ca needs TLS; give --tls-cert and --tls-key")
        for file in (self.token_file, self.tls_cert, self.tls_key, self.client_ca):
            if file is not None and not file.is_file():
                raise InputError(f"{file}: no such file; name one that can be read")
        if self.local:
            return
        if self.tls_cert is None or (self.token_file is None and self.client_ca is None):
            raise UsageError(
                f"{self.host} can be reached from other machines: give --tls-cert and --tls-key, and --token-file or "
                "--client-ca; or listen on 127.0.0.1"
            )


@functools.lru_cache(maxsize=1024)  # asked for every request, of few addresses
def is_loopback(host: str) -> bool:
    """Of an address or `localhost`; other names may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Tokens:
    """The file of bearer tokens, in memory as digests; read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file without a usable token."""
        self._path, self._looked = path, time.monotonic()
        self._stamp = _stamp(path)
        self._digests = _read(path)

    def knows(self, token: str) -> bool:
        """Whether it is one of them, in a time that does not tell how much of it was right."""
        self._look()
        digest = hashlib.sha256(token.encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN_S:
            return
        self._looked = now
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._digests, self._stamp = _read(self._path), stamp
                _log.info("tokens read again", file=str(self._path), tokens=len(self._digests))
        except InputError as error:  # half-written or gone for a moment: those that are known stay
            _log.warning("tokens could not be read again, the known ones stay", problem=str(error))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a file with one token a line") from error
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> list[bytes]:
    try:
        lines = path.read_text("ascii").split("\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a file with one token a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a token is not ASCII; make one with `openssl rand -hex 32`") from error
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens or min(len(token) for token in tokens) < _SHORTEST_TOKEN:
        raise InputError(
            f"{path}: it must hold tokens of at least {_SHORTEST_TOKEN} characters, one a line; "
            "make one with `openssl rand -hex 32`"
        )
    return [hashlib.sha256(token.encode()).digest() for token in tokens]


class Gate:
    """Lets a request in or raises. Empty means refuse: what the door does not protect is only for this machine."""

    def __init__(self, door: Door, lesser: Mapping[Authority, Path] | None = None) -> None:
        """`lesser`: files of tokens that open the routes of one authority alone. Raises as `Door.check`."""
        door.check()
        self._door = door
        self._tokens = Tokens(door.token_file) if door.token_file is not None else None
        self._lesser = {authority: Tokens(path) for authority, path in (lesser or {}).items()}
        if self._lesser and self._tokens is None:
            raise UsageError("tokens for one kind of route need --token-file too, for all others; give it")

    def admit(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], authority: Authority) -> None:
        """1. what anyone may see, 2. a token where there are any, 3. a certificate (TLS has checked it), 4. local."""
        if authority is Authority.ANYONE:
            return  # 1
        if self._tokens is not None:
            self._check_token(headers.get(b"authorization", b""), authority)  # 2
        elif self._door.client_ca is None:  # 3
            _check_local(scope, headers.get(b"host", b""))  # 4

    def _check_token(self, header: bytes, authority: Authority) -> None:
        assert self._tokens is not None
        scheme, _, token = header.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            detail = "this service asks for a token: send the header `Authorization: Bearer TOKEN`"
            raise Problem("token", detail, headers=_CHALLENGE)
        opens = {one for one, tokens in self._lesser.items() if tokens.knows(token.strip())}
        if self._tokens.knows(token.strip()) or authority in opens:
            return
        if opens:
            detail = f"this token is not for routes of the authority {authority.value}: use one that is"
            raise Problem("forbidden", detail)
        detail = "the token is not known here: ask the operator for the one in the service's token file"
        raise Problem("token", detail, headers=_CHALLENGE)


def _check_local(scope: Mapping[str, Any], host: bytes) -> None:
    """The peer and the name that it used: a web page whose name was turned to 127.0.0.1 comes with its own name."""
    peer = scope.get("client")
    name = host.decode("latin-1").rsplit(":", 1)[0] if not host.endswith(b"]") else host.decode("latin-1")
    if (peer and not is_loopback(peer[0])) or (host and not is_loopback(name)):
        detail = "without a token this service is for its own machine: call it as localhost or 127.0.0.1"
        raise Problem("forbidden", detail)
