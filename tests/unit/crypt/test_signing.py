"""Keys of people and the statements that they sign."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import LoomidiError
from loomidi.crypt.envelopes import LONGEST, seal, unseal
from loomidi.crypt.errors import BadEnvelope, BadKey, SignatureInvalid
from loomidi.crypt.keys import PublicKey, SigningKey

KIND, SAID = "application/x.test", {"b": 1, "a": "\u00e4"}


def test_what_is_sealed_is_unsealed_by_its_key_alone() -> None:
    key, other = SigningKey.new(), SigningKey.new()
    told, signature = unseal(KIND, seal(KIND, SAID, key), key.public)
    assert (told, len(bytes.fromhex(signature))) == (SAID, 64)
    with pytest.raises(SignatureInvalid, match=other.public.id):
        unseal(KIND, seal(KIND, SAID, key), other.public)


def test_the_envelope_is_signed_as_dsse_says() -> None:
    key = SigningKey.new()
    envelope = json.loads(seal("type", {}, key))
    key.public.verify(b"DSSEv1 4 type 2 {}", base64.b64decode(envelope["signatures"][0]["sig"]))


@pytest.mark.parametrize(
    "change",
    [
        {"payload": base64.b64encode(b'{"a":2}').decode()},
        {"payloadType": "application/x.other"},
        {"signatures": []},
        {"signatures": [{"sig": "AAAA"}]},
        {"signatures": [{"sig": "!"}]},
        {"signatures": None},
        {"payload": 7},
    ],
)
def test_an_envelope_that_was_changed_opens_nothing(change: dict[str, Any]) -> None:
    key = SigningKey.new()
    envelope = json.loads(seal(KIND, SAID, key)) | change
    with pytest.raises(LoomidiError):
        unseal(KIND, json.dumps(envelope), key.public)


@pytest.mark.parametrize("text", ["", "x", "[]", "7", "{}", "[" * 5000, "x" * (LONGEST + 1)])
def test_what_is_no_envelope_is_told(text: str) -> None:
    with pytest.raises(BadEnvelope):
        unseal(KIND, text, SigningKey.new().public)


def test_a_key_is_kept_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    key, file = SigningKey.new(), tmp_path / "key"
    key.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(file).public == key.public
    with pytest.raises(BadKey, match="never overwritten"):
        key.save(file)
    file.chmod(0o640)
    with pytest.raises(BadKey, match="chmod 600"):
        SigningKey.load(file)


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_a_key_says_how_to_make_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(BadKey, match="keygen"):
        SigningKey.load(file)
    with pytest.raises(BadKey, match="keygen"):
        SigningKey.load(tmp_path / "none")


def test_a_public_key_is_one_word() -> None:
    key = SigningKey.new().public
    assert PublicKey.of(key.word) == key
    for word in ("", key.word[:-4], key.word.removeprefix("ed25519:"), "ed25519:" + "A" * 44, "ed25519:\u00e4"):
        with pytest.raises(BadKey, match="public key"):
            PublicKey.of(word)
