"""Ed25519 keys of people: made, kept in a file that only they can read, told to others as one word.

Called by `envelopes`, and by whoever wires approvals. In: a file or a word. Out: keys that sign and verify. Against a
stolen file only its mode protects; keys on hardware come with FIDO2. The one home of `cryptography`.
"""

import base64
import binascii
import dataclasses
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loomidi.crypt.errors import BadKey, SignatureInvalid

_WORD = "ed25519:"
_OTHERS = 0o077  # bits of a mode that let others in


@dataclasses.dataclass(frozen=True, slots=True)
class PublicKey:
    """32 octets."""

    octets: bytes

    @classmethod
    def of(cls, word: str) -> "PublicKey":
        """From `ed25519:BASE64`. Raises BadKey."""
        try:
            octets = base64.b64decode(word.removeprefix(_WORD), validate=True)
        except (binascii.Error, ValueError):
            octets = b""
        if not word.startswith(_WORD) or len(octets) != 32:
            raise BadKey(f"{word[:60]!r} is no public key; give `{_WORD}` and 32 octets in base64, as keygen prints it")
        return cls(octets)

    @property
    def word(self) -> str:
        """As it is told to others."""
        return _WORD + base64.b64encode(self.octets).decode()

    @property
    def id(self) -> str:
        """Short, for people and for logs."""
        return hashlib.sha256(self.octets).hexdigest()[:16]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raises SignatureInvalid."""
        try:
            Ed25519PublicKey.from_public_bytes(self.octets).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid(f"the signature is not by key {self.id}, or what it is over was changed") from error


class SigningKey:
    """A person's own."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw, form = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self.public = PublicKey(key.public_key().public_bytes(raw, form))

    @classmethod
    def new(cls) -> "SigningKey":
        """Random."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, file: Path) -> "SigningKey":
        """From a PEM file. Raises BadKey."""
        try:
            text = file.read_bytes()
            mode = file.stat().st_mode
        except OSError as error:
            raise BadKey(f"{file}: {error.strerror}; name a key file, or make one by `loomidi fold keygen`") from error
        if mode & _OTHERS:
            raise BadKey(f"{file} can be read by others; run `chmod 600 {file}`, and make another if they may have")
        try:
            key = serialization.load_pem_private_key(text, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{file} holds no private key in PEM without a password; see `loomidi fold keygen`") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey(f"{file} holds another kind of key; make an Ed25519 one by `loomidi fold keygen`")
        return cls(key)

    def save(self, file: Path) -> None:
        """Into a new file of mode 0600. Raises BadKey when it cannot be written, or is there already."""
        text = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(text)
        except FileExistsError as error:
            raise BadKey(f"{file} is there already; a key is never overwritten, name another file") from error
        except OSError as error:
            raise BadKey(f"{file}: {error.strerror}; name a file that can be written") from error

    def sign(self, message: bytes) -> bytes:
        """64 octets."""
        return self._key.sign(message)
