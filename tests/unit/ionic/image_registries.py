"""A fake registry in memory, and keys, for the guard of images: an httpx transport, no network.

The real one is in tests/integration/images. Signing lives here because Loomidi itself only verifies.
"""

import base64
import hashlib
import json
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loomidi.crypt.image_signatures import BUNDLE_TYPE, SIMPLE_TYPE, PublicKey, read_public_key

SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
STATEMENT = "application/vnd.in-toto+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


def octets(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class SigningKey:
    """An ECDSA key on P-256, as cosign's."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())

    def pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form)

    def public(self, name: str = "ours.pub") -> PublicKey:
        return read_public_key(self.pem(), name)

    def sign(self, body: bytes) -> str:
        return base64.b64encode(self.private.sign(body, ec.ECDSA(hashes.SHA256()))).decode()


def payload(digest: str, kind: str = SIMPLE_TYPE) -> bytes:
    """What is signed in simple signing."""
    image = {"docker-manifest-digest": digest}
    return octets({"critical": {"identity": {"docker-reference": ""}, "image": image, "type": kind}, "optional": None})


def bundle(key: SigningKey, digest: str, predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
    """What cosign 3 attaches."""
    subject = [{"name": "", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    statement = octets({"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate})
    signed = b"DSSEv1 %d %b %d %b" % (len(STATEMENT), STATEMENT.encode(), len(statement), statement)
    signatures = [{"sig": key.sign(signed)}]
    envelope = {"payload": base64.b64encode(statement).decode(), "payloadType": STATEMENT, "signatures": signatures}
    return octets({"mediaType": BUNDLE_TYPE, "dsseEnvelope": envelope})


class FakeRegistry:
    """One repository. `paths` is what lies where, below /v2/shop/web/."""

    def __init__(self) -> None:
        self.paths: dict[str, bytes] = {}
        self.asked: list[str] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        body = self.paths.get(request.url.path.removeprefix("/v2/shop/web/"))
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    def put(self, what: str, body: bytes) -> str:
        digest = digest_of(body)
        self.paths[f"{what}/{digest}"] = body
        return digest

    def push(self, tag: str, content: bytes = b"{}") -> str:
        """An image of one layer. Returns its digest."""
        layer = {"digest": self.put("blobs", content), "size": len(content)}
        manifest = octets({"schemaVersion": 2, "mediaType": OCI, "layers": [layer]})
        self.paths[f"manifests/{tag}"] = manifest
        return self.put("manifests", manifest)

    def attach(self, digest: str, signed: bytes, *signatures: str) -> None:
        """Signatures where cosign 2 puts them."""
        blob = self.put("blobs", signed)
        layers = [
            {"mediaType": SIMPLE, "digest": blob, "annotations": {"dev.cosignproject.cosign/signature": each}}
            for each in signatures
        ]
        self.paths[f"manifests/{digest.replace(':', '-')}.sig"] = octets({"schemaVersion": 2, "layers": layers})

    def refer(self, digest: str, body: bytes, *, listed: bool = True) -> None:
        """A bundle where cosign 3 puts it: in the list of referrers, or under the tag where there is no such list."""
        layers = [{"mediaType": BUNDLE_TYPE, "digest": self.put("blobs", body)}]
        held = self.put("manifests", octets({"schemaVersion": 2, "artifactType": BUNDLE_TYPE, "layers": layers}))
        where = f"referrers/{digest}" if listed else f"manifests/{digest.replace(':', '-')}"
        self.paths[where] = octets({"manifests": [{"artifactType": BUNDLE_TYPE, "digest": held}]})
