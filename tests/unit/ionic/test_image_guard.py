"""The guard of images: only what a listed key signed is allowed, and no answer is a denial."""

import json
from typing import Any

import httpx
import pytest

from loomidi.contracts import Verdict
from loomidi.ionic.decide.guards.images import MOST_SIGNATURES, ImageGuard
from loomidi.ionic.registries import MOST_OCTETS, Registries
from tests.unit.ionic.image_registries import FakeRegistry, SigningKey, bundle, digest_of, octets, payload

HOST = "registry.example"


@pytest.fixture
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


def a_pod(*images: Any) -> dict[str, Any]:
    return {"kind": "Pod", "spec": {"containers": [{"name": "web", "image": image} for image in images]}}


def judged(registry: FakeRegistry, key: SigningKey, image: str = f"{HOST}/shop/web:1") -> Verdict:
    (verdict,) = ImageGuard([key.public()], Registries(transport=registry.transport())).judge(a_pod(image))
    return verdict


def test_an_image_signed_by_a_listed_key_is_allowed_and_the_digest_is_told(
    registry: FakeRegistry, key: SigningKey
) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), key.sign(payload(digest)))
    verdict = judged(registry, key)
    assert verdict.allow is True
    assert digest in verdict.reason
    assert judged(registry, key, f"{HOST}/shop/web@{digest}").allow is True


@pytest.mark.parametrize("listed", [True, False])
def test_a_bundle_that_refers_to_the_image_is_a_signature_too(
    registry: FakeRegistry, key: SigningKey, listed: bool
) -> None:
    digest = registry.push("1")
    registry.refer(digest, bundle(key, digest), listed=listed)
    assert judged(registry, key).allow is True


def test_one_good_signature_among_others_is_enough(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    signed = payload(digest)
    registry.attach(digest, signed, SigningKey().sign(signed), "no base64!", key.sign(signed))
    assert judged(registry, key).allow is True


def test_an_unsigned_image_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    registry.push("1")
    verdict = judged(registry, key)
    assert verdict.allow is False
    assert "no signature" in verdict.reason


def test_an_image_signed_by_another_key_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), SigningKey().sign(payload(digest)))
    assert judged(registry, key).allow is False


def test_a_signature_of_another_image_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    good, bad = registry.push("good"), registry.push("1", b"other")
    registry.attach(bad, payload(good), key.sign(payload(good)))
    assert "another image" in judged(registry, key).reason
    registry.refer(bad, bundle(key, good))
    assert judged(registry, key).allow is False


def test_a_signed_statement_that_is_no_signature_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    other = payload(digest, kind="a scan")
    registry.attach(digest, other, key.sign(other))
    registry.refer(digest, bundle(key, digest, predicate="https://cosign.sigstore.dev/attestation/vuln/v1"))
    verdict = judged(registry, key)
    assert verdict.allow is False
    assert "attestation/vuln" in verdict.reason


def test_a_registry_that_gives_other_octets_than_were_asked_for_is_not_believed(
    registry: FakeRegistry, key: SigningKey
) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), key.sign(payload(digest)))
    registry.paths[f"manifests/{digest}"] = octets({"schemaVersion": 2, "layers": []})
    verdict = judged(registry, key, f"{HOST}/shop/web@{digest}")
    assert verdict.allow is False
    assert "tampered" in verdict.reason


def test_a_payload_that_was_changed_after_it_was_signed_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), key.sign(payload(digest)))
    registry.paths[f"blobs/{digest_of(payload(digest))}"] = payload(digest).replace(b"null", b"{}")
    assert judged(registry, key).allow is False


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(401), httpx.Response(200, content=b"x" * 99)])
def test_a_registry_that_gives_no_use_is_a_denial(answer: httpx.Response, key: SigningKey) -> None:
    transport = httpx.MockTransport(lambda request: answer)
    (verdict,) = ImageGuard([key.public()], Registries(transport=transport)).judge(a_pod(f"{HOST}/shop/web:1"))
    assert verdict.allow is not True


def test_a_registry_that_does_not_answer_is_a_denial_without_an_answer(key: SigningKey) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    (verdict,) = ImageGuard([key.public()], Registries(transport=httpx.MockTransport(away))).judge(
        a_pod(f"{HOST}/shop/web:1")
    )
    assert verdict.allow is None
    assert "does not answer" in verdict.reason


def test_an_answer_without_end_is_cut_off(key: SigningKey) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=b"x" * (MOST_OCTETS + 1)))
    (verdict,) = ImageGuard([key.public()], Registries(transport=transport)).judge(a_pod(f"{HOST}/shop/web:1"))
    assert verdict.allow is None
    assert "more than" in verdict.reason


def test_no_more_signatures_are_looked_at_than_the_limit(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    signed = payload(digest)
    registry.attach(digest, signed, *["AAAA"] * MOST_SIGNATURES, key.sign(signed))
    assert "not looked at" in judged(registry, key).reason


def test_only_listed_registries_are_asked(registry: FakeRegistry, key: SigningKey) -> None:
    registries = Registries({"other.example": "https://other.example"}, transport=registry.transport())
    (verdict,) = ImageGuard([key.public()], registries).judge(a_pod(f"{HOST}/shop/web:1"))
    assert verdict.allow is None
    assert registry.asked == []


def test_the_token_that_a_public_registry_asks_for_is_fetched_and_given(
    registry: FakeRegistry, key: SigningKey
) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), key.sign(payload(digest)))

    def guarded(request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.example":
            assert request.url.params["scope"] == "repository:shop/web:pull"
            return httpx.Response(200, json={"token": "t"})
        if request.headers.get("Authorization") != "Bearer t":
            told = f'Bearer realm="https://auth.example/token",service="{HOST}"'
            return httpx.Response(401, headers={"WWW-Authenticate": told})
        return registry._answer(request)

    (verdict,) = ImageGuard([key.public()], Registries(transport=httpx.MockTransport(guarded))).judge(
        a_pod(f"{HOST}/shop/web:1")
    )
    assert verdict.allow is True


def test_every_image_of_every_list_gets_a_verdict_and_volumes_count(registry: FakeRegistry, key: SigningKey) -> None:
    images = [f"{HOST}/shop/web:{number}" for number in range(4)]
    pod = a_pod(images[0])
    pod["spec"] |= {
        "initContainers": [{"image": images[1]}],
        "ephemeralContainers": [{"image": images[2]}],
        "volumes": [{"name": "x", "image": {"reference": images[3]}}],
    }
    cron = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod}}}}
    guard = ImageGuard([key.public()], Registries(transport=registry.transport()))
    assert [verdict.allow for verdict in guard.judge(cron)] == [False] * 4


def test_without_a_key_everything_is_refused(registry: FakeRegistry, key: SigningKey) -> None:
    digest = registry.push("1")
    registry.attach(digest, payload(digest), key.sign(payload(digest)))
    (verdict,) = ImageGuard([], Registries(transport=registry.transport())).judge(a_pod(f"{HOST}/shop/web:1"))
    assert verdict.allow is False


def test_what_runs_no_image_is_allowed_and_a_pod_without_one_is_not(registry: FakeRegistry, key: SigningKey) -> None:
    guard = ImageGuard([key.public()], Registries(transport=registry.transport()))
    assert [verdict.allow for verdict in guard.judge({"kind": "Service", "spec": {}})] == [True]
    for pod in ({"kind": "Pod"}, a_pod(None), {"kind": "Pod", "spec": {"containers": "web"}}, a_pod("../../x")):
        assert [verdict.allow is True for verdict in guard.judge(pod)] == [False], json.dumps(pod)
