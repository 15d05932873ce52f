"""The guard of images: what a manifest would run is signed by a key that is listed.

Called by `loomidi policy check --manifest --image-keys`. In: one Kubernetes object, public keys, a way to ask
registries. Out: a verdict for each image. A tag is resolved to the digest that it has now, and that digest must be
signed. No answer, nothing found, nothing that verifies: each is a denial. Not exported with the other guards, since it
needs the extra `images`.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from loomidi.contracts import LoomidiError, Retryable, Verdict
from loomidi.crypt.errors import NotSigned
from loomidi.crypt.image_signatures import BUNDLE_TYPE, PublicKey, signer_of_bundle, signer_of_payload
from loomidi.ionic.decide.guards.library import GuardrailRule
from loomidi.ionic.errors import NotInRegistry
from loomidi.ionic.images import Image, images_of, read_image
from loomidi.ionic.registries import Registries

RULE = GuardrailRule(
    name="image_signed",
    title="Images are signed by a listed key",
    description="An image that nobody vouches for may be anybody's.",
    profile="practices",
    standard="CIS 5.5.1; NSA: Building secure container images",
    severity="critical",
    remediation="Sign the image with `cosign sign --key`, or list the key that did.",
    text="",
)
MOST_SIGNATURES = 32  # of one image that are looked at; whoever may push could add any number
_SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
Trial = Callable[[], str]


class ImageGuard:
    """Asks the registry of each image for its signatures and verifies them here."""

    name = "images"
    rules: Mapping[str, GuardrailRule] = {RULE.name: RULE}

    def __init__(self, keys: Sequence[PublicKey], registries: Registries) -> None:
        """Without a key nothing is signed, so everything is refused."""
        self._keys, self._registries = tuple(keys), registries
        self._known: dict[str, Verdict] = {}

    def close(self) -> None:
        """Let the connections to the registries go."""
        self._registries.close()

    def judge(self, manifest: Mapping[str, Any]) -> Sequence[Verdict]:
        """A verdict for each image; one that says so when there is none."""
        try:
            images = images_of(manifest)
        except LoomidiError as error:
            return [Verdict(self.name, RULE.name, None, f"no answer: {error}")]
        verdicts = [self._known.get(text) or self._judged(text) for text in images]
        self._known |= {text: each for text, each in zip(images, verdicts, strict=True) if each.allow is not None}
        return verdicts or [Verdict(self.name, RULE.name, True, "it runs no image")]

    def _judged(self, text: str) -> Verdict:
        """Steps: 1 read the reference   2 the digest it has now   3 a signature of that digest that verifies."""
        try:
            # 1 read
            image = read_image(text)
            # 2 the digest it has now
            digest = self._registries.manifest(image, image.digest or image.tag).digest
            # 3 a signature that verifies
            signer, against = self._signer(image, digest)
        except Retryable as error:
            return Verdict(self.name, RULE.name, None, f"no answer: {text}: {error}")
        except LoomidiError as error:
            return Verdict(self.name, RULE.name, False, f"{text[:300]}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the answer is no
            return Verdict(self.name, RULE.name, None, f"no answer: {text[:300]}: {type(error).__name__}: {error}")
        if signer:
            return Verdict(self.name, RULE.name, True, f"{text} is {digest}, signed by {signer}")
        return Verdict(self.name, RULE.name, False, f"{text} is {digest}: {against}")

    def _signer(self, image: Image, digest: str) -> tuple[str, str]:
        """The first key that signed it, or "" and what was found instead."""
        against: list[str] = []
        for number, trial in enumerate(self._trials(image, digest)):
            if number == MOST_SIGNATURES:
                against.append(f"more than {MOST_SIGNATURES} signatures, the others were not looked at")
                break
            try:
                return trial(), ""
            except (NotSigned, NotInRegistry) as error:
                against.append(str(error))
        return "", "; ".join(dict.fromkeys(against)) or "it has no signature"

    def _trials(self, image: Image, digest: str) -> Iterator[Trial]:
        """One for each signature: by cosign's tag first, then by what refers to the image."""
        try:
            tagged = self._registries.manifest(image, f"{digest.replace(':', '-', 1)}.sig").document()
        except NotInRegistry:
            tagged = {}
        for layer in _layers(tagged):
            if layer.get("mediaType") == _SIMPLE:
                yield functools.partial(self._by_payload, image, digest, layer)
        referrers = self._registries.referrers(image, digest)
        for referrer in sorted(referrers, key=lambda each: each.get("artifactType") != BUNDLE_TYPE):
            yield functools.partial(self._by_bundle, image, digest, referrer)

    def _by_payload(self, image: Image, digest: str, layer: Mapping[str, Any]) -> str:
        noted = layer.get("annotations")
        signature = noted.get(_SIGNATURE) if isinstance(noted, Mapping) else None
        payload = self._registries.blob(image, str(layer.get("digest"))).body
        return signer_of_payload(digest, payload, str(signature), self._keys)

    def _by_bundle(self, image: Image, digest: str, referrer: Mapping[str, Any]) -> str:
        held = self._registries.manifest(image, str(referrer.get("digest"))).document()
        bundles = [layer for layer in _layers(held) if layer.get("mediaType") == BUNDLE_TYPE]
        if len(bundles) != 1:
            raise NotSigned("what refers to the image does not hold exactly one bundle")
        bundle = self._registries.blob(image, str(bundles[0].get("digest"))).body
        return signer_of_bundle(digest, bundle, self._keys)


def _layers(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    layers = manifest.get("layers")
    return [layer for layer in layers if isinstance(layer, Mapping)] if isinstance(layers, list) else []
