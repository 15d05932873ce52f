"""Images as manifests name them: where each lies, and which ones an object would run.

Called by the guard of images. In: a reference such as `registry.example/shop/web:1.4`, or a Kubernetes object. Out:
`Image`s, or BadImage, BadManifest. Only what a registry's path may hold passes: a reference becomes part of a URL.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.ionic.errors import BadImage, BadManifest

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_DOCKER = "docker.io"  # where an image without a host lies
_LISTS = ("containers", "initContainers", "ephemeralContainers")
_TEMPLATED = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One reference, taken apart."""

    text: str  # as it was written
    host: str
    repository: str
    tag: str  # "" when a digest is named
    digest: str  # "" when only a tag is named


def read_image(text: object) -> Image:
    """Raises BadImage."""
    if not isinstance(text, str):
        raise BadImage("an image that is not text; name it as registry/name:tag or registry/name@sha256:digest")
    named, at, digest = text.partition("@")
    first, slash, rest = named.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first, rest
    else:
        host, path = _DOCKER, named
    repository, colon, tag = path.rpartition(":") if ":" in path.rpartition("/")[2] else (path, "", "")
    repository = f"library/{repository}" if host == _DOCKER and "/" not in repository else repository
    whole = HOST.fullmatch(host) and _REPOSITORY.fullmatch(repository)
    if not whole or (at and not DIGEST.fullmatch(digest)) or (colon and not _TAG.fullmatch(tag)):
        raise BadImage(f"{text[:200]!r} is no image; name it as registry/name:tag or registry/name@sha256:digest")
    return Image(text, host, repository, "" if digest else tag or "latest", digest)


def images_of(manifest: Mapping[str, Any]) -> list[str]:
    """What the pod of an object would pull, each once: of its containers and its image volumes.

    Raises BadManifest for a pod that is not shaped as the API asks for. Any kind with a pod at `spec.template` counts.
    """
    kind = manifest.get("kind")
    pod: Any = manifest
    for step in _TEMPLATED.get(kind if isinstance(kind, str) else "", ("spec", "template")):
        pod = pod.get(step) if isinstance(pod, Mapping) else None
    spec = pod.get("spec") if isinstance(pod, Mapping) else None
    if not isinstance(spec, Mapping):
        if kind in _TEMPLATED:
            raise BadManifest(f"a {kind} without a pod; write `spec` as the API documents it")
        return []
    return list(dict.fromkeys(_named(spec)))


def _named(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in _LISTS:
        for container in _list(spec, name):
            yield _text(container.get("image"), name)
    for volume in _list(spec, "volumes"):
        if volume.get("image") is not None:
            image = volume["image"]
            yield _text(image.get("reference") if isinstance(image, Mapping) else None, "volumes")


def _list(spec: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = spec.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise BadManifest(f"`{name}` is not a list of objects; write it as the API documents it")
    return found


def _text(image: object, where: str) -> str:
    if not isinstance(image, str) or not image:
        raise BadManifest(f"an item of `{where}` names no image")
    return image
