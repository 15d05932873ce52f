"""Signatures of container images by a key, in the two shapes that cosign writes; verified here, without a network.

Called by `ionic.decide.guards.images`. In: the digest that is asked about, octets as a registry gave them, public keys
(PEM, ECDSA on P-256, which is what cosign makes). Out: the name of the key that signed this digest, or NotSigned. Where
signatures lie and what follows from one is left to the caller. A transparency log is not asked: who lists a key trusts
it for as long as it is listed. Needs cryptography, which is an extra.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loomidi.crypt.envelopes import pre_authentication
from loomidi.crypt.errors import BadKey, NotSigned

SIMPLE_TYPE = "cosign container image signature"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "https://sigstore.dev/cosign/sign/v1"  # other statements by the same key (scans, SBOMs) are no signature


@dataclasses.dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that is trusted to sign images."""

    name: str  # where it came from, and the start of its fingerprint
    key: ec.EllipticCurvePublicKey


def read_public_key(text: bytes, source: str) -> PublicKey:
    """A key from PEM. Raises BadKey."""
    try:
        key = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey(f"{source}: no public key in PEM; name the .pub file of `cosign generate-key-pair`") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadKey(f"{source}: not an ECDSA key on P-256; make one with `cosign generate-key-pair`")
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(f"{source} ({hashlib.sha256(encoded).hexdigest()[:12]})", key)


def signer_of_payload(digest: str, payload: bytes, signature: str, keys: Sequence[PublicKey]) -> str:
    """The key that signed this payload (simple signing) for this digest. Raises NotSigned. Steps, in this order:

    1 one of the keys signed these octets   2 they say that they sign an image   3 that image is the one asked about
    """
    # 1 signed these octets
    signer = _signer(payload, _decoded(signature), keys)
    # 2 an image
    told = _json(payload).get("critical")
    critical = told if isinstance(told, dict) else {}
    if critical.get("type") != SIMPLE_TYPE:
        raise NotSigned(f"signed by {signer}, but as {critical.get('type')!r}")
    # 3 the one asked about
    image = critical.get("image")
    signed = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    if signed != digest:
        raise NotSigned(f"the signature of {signer} is for another image: {signed}")
    return signer


def signer_of_bundle(digest: str, bundle: bytes, keys: Sequence[PublicKey]) -> str:
    """The same for a bundle (a signed in-toto statement, what cosign 3 writes). Raises NotSigned. Steps:

    1 one of the keys signed the statement   2 it says that it signs an image   3 that image is the one asked about
    """
    envelope = _json(bundle).get("dsseEnvelope")
    if not isinstance(envelope, dict) or envelope.get("payloadType") != _STATEMENT_TYPE:
        raise NotSigned("the bundle holds no in-toto statement")
    statement = _decoded(envelope.get("payload"))
    # 1 signed the statement
    signed = pre_authentication(_STATEMENT_TYPE, statement)
    signatures = envelope.get("signatures")
    (first, *others) = signatures if isinstance(signatures, list) and signatures else [None]
    if others or not isinstance(first, dict):
        raise NotSigned("the bundle does not hold exactly one signature")
    signer = _signer(signed, _decoded(first.get("sig")), keys)
    # 2 signs an image
    told = _json(statement)
    if told.get("predicateType") != _PREDICATE:
        raise NotSigned(f"signed by {signer}, but as {told.get('predicateType')!r}")
    # 3 the one asked about
    if digest not in _subjects(told.get("subject")):
        raise NotSigned(f"the signature of {signer} is for another image: {_subjects(told.get('subject'))}")
    return signer


def _subjects(told: Any) -> list[str]:
    """Digests of a statement's subjects."""
    subjects = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    digests = [each.get("digest") for each in subjects]
    return [f"sha256:{each['sha256']}" for each in digests if isinstance(each, dict) and "sha256" in each]


def _signer(octets: bytes, signature: bytes, keys: Sequence[PublicKey]) -> str:
    for each in keys:
        try:
            each.key.verify(signature, octets, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return each.name
    raise NotSigned("not signed by any of the listed keys")


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise NotSigned("the signature is not text in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotSigned("the signature is not text in base64") from error


def _json(octets: bytes) -> dict[str, Any]:
    try:
        read = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise NotSigned("what was signed is not JSON") from error
    if not isinstance(read, dict):
        raise NotSigned("what was signed is not a JSON object")
    return read
