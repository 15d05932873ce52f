"""Images in a real registry: unsigned, wrongly signed and tampered ones are refused; the real cosign and we agree."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts import Verdict
from loomidi.crypt.image_signatures import PublicKey, read_public_key
from loomidi.ionic.decide.guards.images import ImageGuard
from loomidi.ionic.registries import Registries
from tests.integration.images.conftest import Cosign
from tests.integration.images.registries import Registry
from tests.unit.ionic.image_registries import SigningKey, payload

pytestmark = pytest.mark.lab_long
OLD = ("--new-bundle-format=false",)
QUIET = ("--use-signing-config=false", "--tlog-upload=false", "--yes")


@pytest.fixture
def key() -> SigningKey:
    return SigningKey()


def judged(registry: Registry, key: PublicKey, name: str) -> Verdict:
    spec = {"containers": [{"name": "web", "image": registry.image(name)}]}
    with contextlib.closing(ImageGuard([key], Registries({registry.host: f"http://{registry.host}"}))) as guard:
        (verdict,) = guard.judge({"kind": "Pod", "spec": spec})
    return verdict


def signed(registry: Registry, key: SigningKey, name: str) -> str:
    """An image that is pushed and signed. Returns its digest."""
    digest = registry.push(name, name.encode())
    registry.attach(name.rpartition(":")[0], digest, payload(digest), key.sign(payload(digest)))
    return digest


def test_a_signed_image_is_allowed_by_tag_and_by_digest(registry: Registry, key: SigningKey) -> None:
    digest = signed(registry, key, "signed/web:1")
    assert judged(registry, key.public(), "signed/web:1").allow is True
    assert judged(registry, key.public(), f"signed/web@{digest}").allow is True


def test_an_unsigned_image_is_refused(registry: Registry, key: SigningKey) -> None:
    registry.push("unsigned/web:1", b"unsigned")
    assert judged(registry, key.public(), "unsigned/web:1").allow is False


def test_an_image_signed_by_another_key_is_refused(registry: Registry, key: SigningKey) -> None:
    signed(registry, SigningKey(), "wrong/web:1")
    verdict = judged(registry, key.public(), "wrong/web:1")
    assert verdict.allow is False
    assert "not signed by any" in verdict.reason


def test_the_signature_of_another_image_is_refused(registry: Registry, key: SigningKey) -> None:
    good = signed(registry, key, "borrowed/web:1")
    bad = registry.push("borrowed/web:2", b"not the one that was signed")
    registry.attach("borrowed/web", bad, payload(good), key.sign(payload(good)))
    assert "another image" in judged(registry, key.public(), "borrowed/web:2").reason


def test_an_image_that_was_changed_on_the_disk_of_the_registry_is_refused(registry: Registry, key: SigningKey) -> None:
    digest = signed(registry, key, "tampered/web:1")
    file = registry.data(digest)
    other = registry.push("tampered/other:1", b"what an intruder would run")
    file.write_bytes(registry.data(other).read_bytes())
    for name in ("tampered/web:1", f"tampered/web@{digest}"):
        assert judged(registry, key.public(), name).allow is False, name


def test_an_image_that_is_not_there_is_refused(registry: Registry, key: SigningKey) -> None:
    assert judged(registry, key.public(), "nothing/web:1").allow is False


def test_a_registry_that_is_down_is_no_answer(key: SigningKey) -> None:
    guard = ImageGuard([key.public()], Registries({"lab.example": "http://127.0.0.1:9"}))
    (verdict,) = guard.judge({"kind": "Pod", "spec": {"containers": [{"image": "lab.example/shop/web:1"}]}})
    assert verdict.allow is None


def test_the_command_refuses_the_pod_of_an_unsigned_image(
    registry: Registry, key: SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.push("verb/web:1", b"verb")
    pod = {"kind": "Pod", "spec": {"containers": [{"name": "web", "image": registry.image("verb/web:1")}]}}
    (tmp_path / "pod.json").write_text(json.dumps(pod))
    (tmp_path / "ours.pub").write_bytes(key.pem())
    place = f"{registry.host}=http://{registry.host}"
    asked = ["policy", "check", "--manifest", str(tmp_path / "pod.json"), "--profile", "baseline"]
    asked += ["--image-keys", str(tmp_path / "ours.pub"), "--registry", place]
    assert guarded(lambda: loomidi.main(asked, standalone_mode=False)) == 1
    assert "image_signed" in capsys.readouterr().out


@pytest.mark.parametrize("form", [OLD, ()], ids=["simple signing", "bundle"])
def test_what_cosign_signs_we_accept(registry: Registry, cosign: Cosign, tmp_path: Path, form: tuple[str, ...]) -> None:
    cosign("generate-key-pair", cwd=tmp_path)
    name = f"cosign/{'old' if form else 'new'}"
    digest = registry.push(f"{name}:1", name.encode())
    cosign("sign", "--key", "cosign.key", *QUIET, *form, registry.image(f"{name}@{digest}"), cwd=tmp_path)
    key = read_public_key((tmp_path / "cosign.pub").read_bytes(), "cosign.pub")
    assert judged(registry, key, f"{name}:1").allow is True
    assert judged(registry, SigningKey().public(), f"{name}:1").allow is False


def test_what_is_signed_by_us_cosign_accepts_and_another_key_it_does_not(
    registry: Registry, cosign: Cosign, key: SigningKey, tmp_path: Path
) -> None:
    digest = signed(registry, key, "ours/web:1")
    (tmp_path / "ours.pub").write_bytes(key.pem())
    (tmp_path / "other.pub").write_bytes(SigningKey().pem())
    image = registry.image(f"ours/web@{digest}")
    verify = ("verify", "--insecure-ignore-tlog", *OLD, "--key")
    told = json.loads(cosign(*verify, "ours.pub", image, cwd=tmp_path))
    assert told[0]["critical"]["image"]["docker-manifest-digest"] == digest
    with pytest.raises((AssertionError, subprocess.SubprocessError)):
        cosign(*verify, "other.pub", image, cwd=tmp_path)
