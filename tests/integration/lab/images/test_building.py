"""An image built for real: what is in it, that it repeats, and that nothing stays when it goes wrong."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loomidi.contracts.errors import Retryable
from loomidi_lab import images
from loomidi_lab.images.recipes import RECIPES

Using = Callable[[Path], AbstractContextManager[None]]
pytestmark = pytest.mark.slow


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def processes_with(word: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def keys(cache: Path) -> set[str]:
    return {path.parent.name for path in (cache / "images").glob("*/image.json")}


def test_the_layer_holds_the_difference_and_nothing_of_the_day(tiny: images.BuiltImage) -> None:
    with tarfile.open(tiny.layers[-1].path) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    files = [name for name, entry in entries.items() if not entry.isdir()]
    assert {"usr/bin/ping", "etc/.wh.issue", "etc/skel/.wh..wh..opq", "etc/skel/new", "srv/added.py"} <= set(entries)
    assert entries["srv/second"].linkname == "srv/first"
    assert "SCHILY.xattr.security.capability" in entries["usr/bin/ping"].pax_headers
    gone = ("usr/sbin/policy-rc.d", "etc/machine-id", "etc/resolv.conf", "usr/bin/bash")
    assert not [
        name for name in files if name in gone or name.startswith(("var/cache/", "var/log/", "var/lib/apt/lists/"))
    ]
    assert tiny.packages["libcap2-bin"]
    assert tiny.packages["bash"]


def test_the_bare_debian_below_knows_no_mirror_and_no_machine(tiny: images.BuiltImage) -> None:
    with tarfile.open(tiny.layers[0].path) as tar:
        sources = tar.extractfile("etc/apt/sources.list")
        machine = tar.getmember("etc/machine-id")
        assert sources
        assert "deb " not in sources.read().decode()
        assert machine.size == 0
        assert not [name for name in tar.getnames() if name.startswith(("usr/share/man/", "usr/share/locale/", "dev/"))]


def test_what_is_built_is_left_alone(tiny: images.BuiltImage, cache: Path, using: Using) -> None:
    words: list[str] = []
    before = tiny.layers[-1].path.stat()
    with using(cache):
        again = images.build(["tiny"], progress=words.append)[0]
    assert (again.key, again.seconds, words) == (tiny.key, 0.0, [])
    assert again.layers[-1].path.stat().st_mtime_ns == before.st_mtime_ns


def test_the_same_recipe_gives_the_same_bytes(
    tiny: images.BuiltImage, new_cache: Callable[[], Path], using: Using
) -> None:
    with using(new_cache()):
        again = images.build(["tiny"], progress=quiet)[0]
    assert again.manifest == tiny.manifest
    assert again.seconds > 0


def test_a_package_that_does_not_exist_is_named_and_leaves_nothing(
    tiny: images.BuiltImage, cache: Path, using: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (mounts(), keys(cache))
    with using(cache):
        monkeypatch.setitem(RECIPES, "tiny", dataclasses.replace(RECIPES["tiny"], packages=("no-such-package",)))
        with pytest.raises(Retryable, match=r"image tiny cannot be built: E: Unable to locate package no-such-package"):
            images.build(["tiny"], progress=quiet)
    assert (mounts(), keys(cache)) == before
    assert not (cache / "images" / ".partial").exists()


def test_a_build_killed_half_way_leaves_no_mount_and_no_process_and_the_next_one_works(
    tiny: images.BuiltImage, new_cache: Callable[[], Path], using: Using
) -> None:
    cache = new_cache()
    before = mounts()
    script = (
        "import dataclasses; from loomidi_lab import images; from loomidi_lab.images.recipes import RECIPES;"
        "RECIPES['tiny'] = dataclasses.replace(RECIPES['base'], name='tiny', packages=(), commands=('sleep 60',));"
        "images.build(['tiny'])"
    )
    environment = os.environ | {"LOOMIDI_LAB_CACHE": str(cache)}
    with subprocess.Popen((sys.executable, "-c", script), env=environment, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not processes_with(str(cache / "images" / "logs" / "tiny.log")):
            assert time.monotonic() < until, "the build did not begin"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while processes_with(str(cache)):
        assert time.monotonic() < until, "processes of the killed build are left"
        time.sleep(0.05)
    assert mounts() == before
    assert not (cache / "images" / "tags").exists()
    with using(cache):
        assert images.build(["tiny"], progress=quiet)[0].manifest == tiny.manifest


def test_a_folder_becomes_an_image(cache: Path, using: Using, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("x")
    with using(cache):
        made = images.image_from_folder("lab.test/program:1", tmp_path, ["/program"])
        again = images.image_from_folder("lab.test/program:1", tmp_path, ["/program"])
        assert "lab.test/program:1" in {image.name for image in images.built()}
    assert made.key == again.key
    with tarfile.open(made.layers[0].path) as tar:
        assert tar.getnames() == ["program"]
