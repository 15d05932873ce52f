"""The records of this house: what an image is made of, a layer, a built image.

Called by every module of `images`. In: nothing. Out: frozen records; `BuiltImage` is read back from its folder.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """Files of the checkout that go into an image."""

    source: Path  # a file, or a folder with all below it
    target: str  # absolute, inside the image
    mode: int = 0o644  # of each file; folders are 0755; owner is root


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """An account with fixed numbers, made before packages are installed, so that theirs do not depend on the order."""

    name: str
    number: int  # user and group
    home: str = "/nonexistent"


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """How a container of the image runs; the OCI image configuration, its part for people."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: str = ""  # number:number; empty is root
    folder: str = "/"
    ports: tuple[int, ...] = ()  # TCP
    stop_signal: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """An uncompressed tar of differences; its digest is also its diff id."""

    path: Path
    digest: str  # sha256:...
    size_bytes: int
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)  # kind of file -> count, such as sockets

    def record(self) -> dict[str, Any]:
        """As it is written beside the image."""
        return {"digest": self.digest, "size_bytes": self.size_bytes, "left_out": dict(self.left_out)}


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in the cache: its configuration and manifest as bytes, its layers as files."""

    name: str  # such as lab.loomidi.io/base:1
    key: str
    folder: Path
    layers: tuple[Layer, ...]  # the lowest first
    config: bytes
    manifest: bytes
    seconds: float = 0.0  # taken to build it now; 0 when it was there

    @property
    def size_bytes(self) -> int:
        """Of all layers, those of its parents too."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def packages(self) -> dict[str, str]:
        """Debian packages inside and their versions."""
        path = self.folder / "packages.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}
