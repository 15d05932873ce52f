"""Images as OCI wants them: configuration, manifest, layout; one archive for many images, without a registry.

Called by `building` (configuration, manifest), `seeding` (an archive for `ctr image import -`) and for export. In:
layers and `Running`. Out: bytes with canonical JSON, so that digests repeat. The archive holds the OCI layout and the
manifest.json of `docker save`; a layer that images share is written once.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from loomidi_lab.images.records import PATH, BuiltImage, Layer, Running

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON that is the same for the same content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(content: bytes) -> str:
    """As OCI writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def architecture() -> str:
    """Of this machine, in Go's words."""
    machine = os.uname().machine
    return _MACHINES.get(machine, machine)


def configuration(running: Running, layers: Sequence[Layer], labels: Mapping[str, str], newest_s: int) -> bytes:
    """The image configuration."""
    variables = {"PATH": PATH, **running.env}
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "WorkingDir": running.folder,
        "Labels": {f"org.opencontainers.image.{name}": value for name, value in labels.items()},
    }
    optional = {
        "Entrypoint": list(running.entrypoint),
        "Cmd": list(running.cmd),
        "User": running.user,
        "ExposedPorts": {f"{port}/tcp": {} for port in running.ports},
        "StopSignal": running.stop_signal,
    }
    config |= {name: value for name, value in optional.items() if value}
    created = datetime.fromtimestamp(newest_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return canonical({
        "architecture": architecture(),
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created": created, "created_by": "loomidi-lab build"} for _ in layers],
    })  # fmt: skip


def manifest(config: bytes, layers: Sequence[Layer]) -> bytes:
    """The image manifest."""
    return canonical({
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size_bytes} for layer in layers],
    })  # fmt: skip


def write_archive(images: Iterable[BuiltImage], stream: IO[bytes]) -> None:
    """Write images as one tar: for `ctr image import`, `podman load`, `docker load`."""
    chosen = list(images)
    documents = {
        f"blobs/sha256/{_hex(digest(each))}": each for image in chosen for each in (image.config, image.manifest)
    }
    documents["oci-layout"] = canonical({"imageLayoutVersion": "1.0.0"})
    documents["index.json"] = _index(chosen)
    documents["manifest.json"] = _saved(chosen)
    layers = {layer.digest: layer for image in chosen for layer in image.layers}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
        for name in sorted(documents):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o644, len(documents[name])
            tar.addfile(entry, io.BytesIO(documents[name]))
        for layer in layers.values():
            entry = tarfile.TarInfo(f"blobs/sha256/{_hex(layer.digest)}")
            entry.mode, entry.size = 0o644, layer.size_bytes
            with layer.path.open("rb") as content:
                tar.addfile(entry, content)


def write_layout(images: Iterable[BuiltImage], folder: Path) -> None:
    """Write images as an OCI layout on disk; layers become hard links where the file system allows it."""
    chosen = list(images)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for image in chosen:
        for document in (image.config, image.manifest):
            (blobs / _hex(digest(document))).write_bytes(document)
        for layer in image.layers:
            _place(layer.path, blobs / _hex(layer.digest))
    (folder / "oci-layout").write_bytes(canonical({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(_index(chosen))


def _index(images: Sequence[BuiltImage]) -> bytes:
    entries = [
        {
            "mediaType": _MANIFEST,
            "digest": digest(image.manifest),
            "size": len(image.manifest),
            "annotations": {
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
            },
        }
        for image in images
    ]
    return canonical({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})


def _saved(images: Sequence[BuiltImage]) -> bytes:
    """The manifest.json of `docker save`."""
    entries = [
        {
            "Config": f"blobs/sha256/{_hex(digest(image.config))}",
            "RepoTags": [image.name],
            "Layers": [f"blobs/sha256/{_hex(layer.digest)}" for layer in image.layers],
        }
        for image in images
    ]
    return json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()


def _hex(name: str) -> str:
    return name.removeprefix("sha256:")


def _place(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        target.write_bytes(source.read_bytes())
