"""Signatures of images: the key, the type and the digest must all be right."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from loomidi.crypt.errors import BadKey, NotSigned
from loomidi.crypt.image_signatures import read_public_key, signer_of_bundle, signer_of_payload
from tests.unit.ionic.image_registries import SigningKey, bundle, octets, payload

DIGEST = f"sha256:{'a' * 64}"


def pem(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form)


def test_the_key_that_signed_is_told_by_name() -> None:
    key, other = SigningKey(), SigningKey()
    keys = [other.public("other.pub"), key.public("ours.pub")]
    assert signer_of_payload(DIGEST, payload(DIGEST), key.sign(payload(DIGEST)), keys).startswith("ours.pub (")
    assert signer_of_bundle(DIGEST, bundle(key, DIGEST), keys).startswith("ours.pub (")


@pytest.mark.parametrize("text", ["", "AAAA", "no base64!", "\u00e4"])
def test_what_is_no_signature_does_not_verify(text: str) -> None:
    with pytest.raises(NotSigned):
        signer_of_payload(DIGEST, payload(DIGEST), text, [SigningKey().public()])


@pytest.mark.parametrize("signed", [b"", b"[]", b"{}", b'{"critical": 1}', octets({"critical": {"type": "x"}})])
def test_what_was_signed_has_to_say_that_it_signs_an_image(signed: bytes) -> None:
    key = SigningKey()
    with pytest.raises(NotSigned):
        signer_of_payload(DIGEST, signed, key.sign(signed), [key.public()])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": ["x"]},
        {"signatures": [{"sig": None}]},
        {"payload": 7},
        {"payload": base64.b64encode(b"{}").decode()},
    ],
)
def test_a_bundle_of_another_shape_does_not_verify(change: dict[str, object]) -> None:
    key = SigningKey()
    told = json.loads(bundle(key, DIGEST))
    told["dsseEnvelope"] = told["dsseEnvelope"] | change if change else None
    with pytest.raises(NotSigned):
        signer_of_bundle(DIGEST, octets(told), [key.public()])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["empty", "garbled", "P-384", "RSA", "Ed25519"],
)
def test_only_keys_as_cosign_makes_them_are_taken(text: bytes) -> None:
    with pytest.raises(BadKey, match="generate-key-pair"):
        read_public_key(text, "x.pub")
