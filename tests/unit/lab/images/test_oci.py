"""Configuration, manifest, layout and archive agree with each other and with the layers, by digest."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from loomidi_lab.images import layers, oci
from loomidi_lab.images.records import PATH, BuiltImage, Layer, Running

RUNNING = Running(("serve",), ("--port", "80"), {"MODE": "lab"}, "33:33", "/srv", (80,), "SIGQUIT")


def image(name: str, stack: tuple[Layer, ...], running: Running = RUNNING) -> BuiltImage:
    config = oci.configuration(running, stack, {"title": name}, 1_700_000_000)
    return BuiltImage(name, name, Path(), stack, config, oci.manifest(config, stack))


@pytest.fixture
def two(tmp_path: Path) -> list[BuiltImage]:
    """Two images that share their lowest layer."""
    made = []
    for name in ("below", "first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name * 1000)
        made.append(layers.write(tmp_path / name, tmp_path / f"{name}.tar", 1_700_000_000))
    return [image("lab/first:1", (made[0], made[1])), image("lab/second:1", (made[0], made[2]))]


def archived(images: list[BuiltImage]) -> dict[str, bytes]:
    stream = io.BytesIO()
    oci.write_archive(images, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names)), "nothing is written twice"
        return {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]


def blob(files: dict[str, bytes], digest: str) -> bytes:
    content = files[f"blobs/sha256/{digest.removeprefix('sha256:')}"]
    assert hashlib.sha256(content).hexdigest() == digest.removeprefix("sha256:")
    return content


def test_an_archive_can_be_followed_from_its_index_to_every_layer(two: list[BuiltImage]) -> None:
    files = archived(two)
    names = []
    for entry in json.loads(files["index.json"])["manifests"]:
        names.append(entry["annotations"]["io.containerd.image.name"])
        manifest = json.loads(blob(files, entry["digest"]))
        config = json.loads(blob(files, manifest["config"]["digest"]))
        assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
        for layer in manifest["layers"]:
            assert len(blob(files, layer["digest"])) == layer["size"]
    assert names == ["lab/first:1", "lab/second:1"]


def test_a_shared_layer_is_written_once(two: list[BuiltImage]) -> None:
    files = archived(two)
    assert sum(name.startswith("blobs/") for name in files) == 3 + 2 + 2  # layers, configurations, manifests


def test_the_manifest_of_docker_save_names_the_same_blobs(two: list[BuiltImage]) -> None:
    files = archived(two)
    for entry, built in zip(json.loads(files["manifest.json"]), two, strict=True):
        assert entry["RepoTags"] == [built.name]
        assert files[entry["Config"]] == built.config
        assert all(layer in files for layer in entry["Layers"])


def test_the_configuration_says_how_the_image_runs() -> None:
    document: dict[str, Any] = json.loads(image("lab/x:1", ()).config)
    assert document["config"] == {
        "Entrypoint": ["serve"],
        "Cmd": ["--port", "80"],
        "Env": [f"PATH={PATH}", "MODE=lab"],
        "User": "33:33",
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Labels": {"org.opencontainers.image.title": "lab/x:1"},
    }
    assert document["created"] == "2023-11-14T22:13:20Z"


def test_what_is_not_said_is_not_in_the_configuration() -> None:
    document: dict[str, Any] = json.loads(image("lab/x:1", (), Running()).config)
    assert set(document["config"]) == {"Env", "WorkingDir", "Labels"}


def test_a_layout_on_disk_holds_the_same_blobs(two: list[BuiltImage], tmp_path: Path) -> None:
    oci.write_layout(two, tmp_path / "layout")
    written = {path.name: path.read_bytes() for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir()}
    files = archived(two)
    assert written == {Path(name).name: content for name, content in files.items() if name.startswith("blobs/")}
    assert (tmp_path / "layout" / "index.json").read_bytes() == files["index.json"]
