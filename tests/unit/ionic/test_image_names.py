"""References of images are taken apart as container runtimes do, and nothing else becomes part of a URL."""

import pytest

from loomidi.contracts import UsageError
from loomidi.ionic.errors import BadImage
from loomidi.ionic.images import read_image
from loomidi.ionic.registries import read_places

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", "latest", ""),
        ("nginx:1.27", "docker.io", "library/nginx", "1.27", ""),
        ("bitnami/redis:7", "docker.io", "bitnami/redis", "7", ""),
        ("registry.example/shop/web:1.4", "registry.example", "shop/web", "1.4", ""),
        ("localhost:5000/web", "localhost:5000", "web", "latest", ""),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000", "a/b/c", "x", ""),
        (f"registry.example/web@{DIGEST}", "registry.example", "web", "", DIGEST),
        (f"registry.example/web:1.4@{DIGEST}", "registry.example", "web", "", DIGEST),
    ],
)
def test_a_reference_has_host_repository_and_tag_or_digest(
    text: str, host: str, repository: str, tag: str, digest: str
) -> None:
    image = read_image(text)
    assert (image.host, image.repository, image.tag, image.digest) == (host, repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "", "Nginx", "a/../b", "registry.example/", "registry.example/a?x=1", "registry.example/a:b/c d", "web:",
        "web@x", "web@sha256:AB", "evil.example#/a", "user@host.example/a", "http://registry.example/a", "a//b",
        f"web@{DIGEST}x",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadImage, match="name it as"):
        read_image(text)


def test_registries_are_named_with_or_without_their_url() -> None:
    told = ["registry.example", "docker.io", "lab=http://127.0.0.1:5000"]
    places = read_places(told)
    assert list(places.values()) == [
        "https://registry.example",
        "https://registry-1.docker.io",
        "http://127.0.0.1:5000",
    ]


@pytest.mark.parametrize("told", ["", "=http://a", "a=ftp://b", "a=b", "a b"])
def test_a_registry_that_cannot_be_one_says_how_it_is_written(told: str) -> None:
    with pytest.raises(UsageError, match="write HOST"):
        read_places([told])
