"""A node's store shares only what containerd never writes in place; everything else is its own."""

import os
import tempfile
from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi_lab import images
from loomidi_lab.images import seeding
from loomidi_lab.images.seeding import Template

BLOB = seeding.SHARED[0] / "sha256" / "abc"
FILE = seeding.SHARED[1] / "1" / "fs" / "etc" / "hosts"
DATABASES = (
    Path("io.containerd.metadata.v1.bolt/meta.db"),
    Path("io.containerd.snapshotter.v1.overlayfs/metadata.db"),
    Path("something.new/state"),
)


@pytest.fixture
def template(tmp_path: Path) -> Template:
    made = Template("key", tmp_path / "template", {})
    for path in (BLOB, FILE, *DATABASES):
        (made.root / path).parent.mkdir(parents=True, exist_ok=True)
        (made.root / path).write_text("template")
    (made.root / FILE).with_name("link").symlink_to("hosts")
    return made


def test_blobs_and_unpacked_files_are_shared(template: Template, tmp_path: Path) -> None:
    root = images.seed(template, tmp_path / "node")
    for path in (BLOB, FILE):
        assert (root / path).samefile(template.root / path)
    assert (root / FILE).with_name("link").readlink() == Path("hosts")


@pytest.mark.parametrize("path", DATABASES, ids=str)
def test_what_a_node_writes_in_place_is_its_own(template: Template, tmp_path: Path, path: Path) -> None:
    first, second = (images.seed(template, tmp_path / name) for name in ("n1", "n2"))
    with (first / path).open("w") as file:
        file.write("node")
    assert (template.root / path).read_text() == "template"
    assert (second / path).read_text() == "template"


def test_folders_are_never_shared(template: Template, tmp_path: Path) -> None:
    root = images.seed(template, tmp_path / "node")
    (root / FILE).with_name("new").write_text("node")
    assert not (template.root / FILE).with_name("new").exists()


def test_a_node_is_seeded_once(template: Template, tmp_path: Path) -> None:
    images.seed(template, tmp_path / "node")
    with pytest.raises(InputError, match="there already"):
        images.seed(template, tmp_path / "node")


def test_what_a_broken_seeding_left_does_not_matter(template: Template, tmp_path: Path) -> None:
    (tmp_path / "node" / "root.partial" / "old").mkdir(parents=True)
    assert not (images.seed(template, tmp_path / "node") / "old").exists()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system at /dev/shm")
def test_a_node_on_another_file_system_gets_copies(template: Template) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        root = images.seed(template, Path(folder) / "node")
        assert (root / FILE).read_text() == "template"
        assert not (root / FILE).samefile(template.root / FILE)
        assert (root / FILE).with_name("link").is_symlink()


def test_without_images_the_message_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="run `loomidi-lab build`"):
        images.template()


def test_without_containerd_the_message_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="containerd is not built yet; run `loomidi-lab build`"):
        images.template([])
