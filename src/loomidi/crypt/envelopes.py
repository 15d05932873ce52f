"""Statements that somebody signed: envelopes as DSSE has them (github.com/secure-systems-lab/dsse), one line of JSON.

Called by `fold.operator` for approvals. In: a kind of statement, its content, keys. Out: the envelope, or the content
of one that verifies. What is signed names its kind, so that a statement of one kind never passes for another.
"""

import base64
import binascii
import json
from typing import Any

from loomidi.crypt.errors import BadEnvelope
from loomidi.crypt.keys import PublicKey, SigningKey

LONGEST = 16_384  # octets of an envelope


def seal(kind: str, content: dict[str, Any], key: SigningKey) -> str:
    """Signed by this key."""
    payload = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    signature = {"keyid": key.public.id, "sig": _text(key.sign(pre_authentication(kind, payload)))}
    envelope = {"payloadType": kind, "payload": _text(payload), "signatures": [signature]}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"))


def unseal(kind: str, envelope: str, key: PublicKey) -> tuple[dict[str, Any], str]:
    """What it says, and the signature in hex. Raises BadEnvelope or SignatureInvalid. Steps, in this order:

    1 it is an envelope of this kind with one signature   2 the signature is the key's   3 only then its content is read
    """
    # 1 an envelope
    if len(envelope) > LONGEST:
        raise BadEnvelope(f"the statement has more than {LONGEST} octets")
    try:
        told = json.loads(envelope)
        found, payload = told["payloadType"], _octets(told["payload"])
        (only,) = told["signatures"]
        signature = _octets(only["sig"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BadEnvelope(f"this is no signed statement: {type(error).__name__}") from error
    if found != kind:
        raise BadEnvelope(f"the statement is of another kind than {kind}")
    # 2 the key's
    key.verify(pre_authentication(kind, payload), signature)
    # 3 its content
    content = json.loads(payload)
    if not isinstance(content, dict):
        raise BadEnvelope("the statement is no object")
    return content, signature.hex()


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: lengths first, so that nothing can move from one part to the other."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
