"""`loomidi policy check --manifest --image-keys`: what it shows, and its exit codes."""

import json
import sys
from pathlib import Path

import httpx
import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.ionic import registries
from tests.unit.ionic.image_registries import FakeRegistry, SigningKey, payload

SAMPLE = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "kubernetes" / "samples" / "allowed"


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main([str(a) for a in arguments], standalone_mode=False))


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey()
    (tmp_path / "ours.pub").write_bytes(made.pem())
    return made


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    fake = FakeRegistry()
    client = httpx.Client
    monkeypatch.setattr(registries.httpx, "Client", lambda **more: client(**more | {"transport": fake.transport()}))
    return fake


def test_a_signed_image_is_allowed_and_an_unsigned_one_shown_with_its_remedy(
    registry: FakeRegistry, key: SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = registry.push("1.4")
    asked = ("policy", "check", "--manifest", SAMPLE / "privileged.yaml", "--profile", "baseline")
    keyed = (*asked, "--image-keys", tmp_path / "ours.pub")
    assert run(*keyed) == 1
    shown = capsys.readouterr().out
    assert [w for w in ("critical", "image_signed", "no signature", "cosign sign --key") if w not in shown] == []
    registry.attach(digest, payload(digest), key.sign(payload(digest)))
    assert run(*keyed, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["objects"]
    assert [verdict for verdict in told["verdicts"] if verdict["rule"] == "image_signed"] != []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image-keys", "ours.pub"), "judges the images of --manifest"),
        (("--registry", "a", "--manifest", "x.yaml"), "says where --image-keys looks"),
        (("--manifest", "x.yaml", "--image-keys", "none.pub"), "name a public key"),
        (("--manifest", "x.yaml", "--image-keys", "x.yaml"), "no public key in PEM"),
        (("--manifest", "x.yaml", "--image-keys", "ours.pub", "--registry", "a=b"), "write HOST"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    key: SigningKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("kind: Pod\n")
    assert run("policy", "check", *arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize("library", ["cryptography", "httpx"])
def test_without_the_extra_it_says_what_to_install(
    library: str, key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [library, *(name for name in sys.modules if name.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith(("loomidi.crypt.image", "loomidi.ionic.registries"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "loomidi.ionic.decide.guards.images", raising=False)
    asked = ("policy", "check", "--manifest", SAMPLE / "privileged.yaml")
    assert run(*asked, "--image-keys", tmp_path / "ours.pub") == 2
    shown = capsys.readouterr().err
    assert library in shown
    assert "is not installed; run: pip install 'loomidi[images]'" in shown
