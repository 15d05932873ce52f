"""Nodes share unpacked files with the template, and whatever a pod does on one node shows nowhere else."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loomidi_lab import images
from loomidi_lab.images import oci, seeding
from loomidi_lab.images.layers import walk

Using = Callable[[Path], AbstractContextManager[None]]
pytestmark = pytest.mark.slow

LOOK = """
stat -c '%n %F %a %u:%g %t:%T' srv/null srv/pipe srv/setuid srv/sticky srv/added.py srv/link srv/first
[ srv/first -ef srv/second ] && echo one file
getcap usr/bin/ping; readlink srv/link; ls etc/skel; ls etc/issue; cat etc/hostname srv/first srv/grown 2>/dev/null
"""
SPOIL = """
echo more >>srv/first; rm srv/second; chmod 600 srv/setuid; chown 7:7 srv/setuid; touch -d 2001-01-01 srv/sticky
setcap -r usr/bin/ping; rm -r etc/skel; mv srv/link srv/moved; echo own >srv/grown; rm srv/null; : >usr/bin/perl
sed -i s/root/toor/ etc/passwd; find usr/share -type f -exec chmod 600 {} +
"""


def content(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that a file is, except how many names it has and when its inode was changed."""
    found: dict[str, tuple[object, ...]] = {}
    for name, path in walk(root):
        status = path.lstat()
        kept = tuple(
            os.getxattr(path, each, follow_symlinks=False) for each in os.listxattr(path, follow_symlinks=False)
        )
        data = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns, data, kept)
    return found


def chain(image: images.BuiltImage) -> str:
    """The name of the image's uppermost snapshot, as the OCI image specification defines it."""
    name = image.layers[0].digest
    for layer in image.layers[1:]:
        name = oci.digest(f"{name} {layer.digest}".encode())
    return name


class Node:
    """A store with its containerd running, and a container's file system on it."""

    def __init__(self, programs: Path, address: Path, work: Path, image: images.BuiltImage) -> None:
        self._ctr = (str(programs / "ctr"), "--address", str(address), "--namespace", seeding.NAMESPACE)
        self._work = work
        (work / "mnt").mkdir(parents=True)
        self.ctr("snapshots", "prepare", "pod", chain(image))
        self._mount = self.ctr("snapshots", "mounts", str(work / "mnt"), "pod")

    def ctr(self, *words: str) -> str:
        """Raises CalledProcessError."""
        return subprocess.run((*self._ctr, *words), capture_output=True, text=True, check=True).stdout

    def run(self, script: str) -> str:
        """A shell in the container's file system, which is mounted for it alone."""
        command = f"{self._mount}\ncd {self._work / 'mnt'}\n{script}"
        words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", command)
        environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        return done.stdout


def test_everything_hard_to_keep_arrives_in_a_container(
    tiny: images.BuiltImage, template: images.Template, programs: Path, tmp_path: Path
) -> None:
    root = images.seed(template, tmp_path / "n1")
    with seeding.running_store(programs, root, tmp_path / "log") as address:
        node = Node(programs, address, tmp_path / "work", tiny)
        assert node.ctr("image", "ls", "-q").split() == [tiny.name]
        assert node.run(LOOK).splitlines() == [
            "srv/null character special file 644 0:0 1:3",
            "srv/pipe fifo 644 0:0 0:0",
            "srv/setuid regular file 4755 33:44 0:0",
            "srv/sticky directory 1777 0:0 0:0",
            "srv/added.py regular file 640 0:0 0:0",
            "srv/link symbolic link 777 0:0 0:0",
            "srv/first regular file 644 0:0 0:0",
            "one file",
            "usr/bin/ping cap_net_raw=ep",
            "first",
            "new",
            "twice",
        ]


def test_what_a_pod_does_on_one_node_shows_neither_on_another_nor_in_the_template(
    tiny: images.BuiltImage, template: images.Template, programs: Path, tmp_path: Path
) -> None:
    before = content(template.root)
    roots = [images.seed(template, tmp_path / name) for name in ("n1", "n2")]
    with (
        seeding.running_store(programs, roots[0], tmp_path / "log1") as first,
        seeding.running_store(programs, roots[1], tmp_path / "log2") as second,
    ):
        one = Node(programs, first, tmp_path / "work1", tiny)
        other = Node(programs, second, tmp_path / "work2", tiny)
        fresh = other.run(LOOK)
        one.run(SPOIL)
        spoiled = one.run(LOOK)
        assert "own" in spoiled
        assert "more" in spoiled
        assert "one file" not in spoiled
        assert other.run(LOOK) == fresh
    assert content(template.root) == before


def test_an_image_removed_on_one_node_stays_on_the_others(
    tiny: images.BuiltImage, template: images.Template, programs: Path, tmp_path: Path
) -> None:
    before = content(template.root)
    root = images.seed(template, tmp_path / "n1")
    with seeding.running_store(programs, root, tmp_path / "log") as address:
        ctr = (str(programs / "ctr"), "--address", str(address), "--namespace", seeding.NAMESPACE)
        subprocess.run((*ctr, "image", "rm", "--sync", tiny.name), check=True, capture_output=True)
        assert not list((root / seeding.SHARED[0] / "sha256").iterdir())
        assert not list((root / seeding.SHARED[1]).iterdir())
    assert content(template.root) == before
    images.seed(template, tmp_path / "n2")


def test_a_new_set_begins_with_what_the_last_one_had(
    new_cache: Callable[[], Path], programs: Path, using: Using, tmp_path: Path
) -> None:
    words: list[str] = []
    with using(new_cache()):
        made = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name)
            made.append(images.image_from_folder(f"lab.test/{name}:1", tmp_path / name, ["/file"]))
        for chosen in (made[:1], made, made[1:]):
            last = images.template(chosen, binaries=programs, progress=words.append)
    assert [word.rpartition(": ")[2] for word in words if "unpacking" in word] == ["one:1", "two:1", "-"]
    (snapshot,) = (last.root / seeding.SHARED[1]).iterdir()
    assert (snapshot / "fs" / "file").read_text() == "two"


def test_the_store_holds_no_second_copy_of_a_layer(tiny: images.BuiltImage, template: images.Template) -> None:
    for layer in tiny.layers:
        blob = template.root / seeding.SHARED[0] / "sha256" / layer.digest.removeprefix("sha256:")
        assert blob.samefile(layer.path)
