"""A small image built for real in a cache of the tests' own, and containerd to unpack it.

The bare Debian below it is taken from the user's cache when it is there: debootstrap alone takes most of a minute.
"""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi_lab import images
from loomidi_lab.images import mirrors, places, seeding
from loomidi_lab.images.recipes import RECIPES, Recipe
from loomidi_lab.images.records import Added

TINY = Recipe(
    "tiny",
    "A small image with everything that is hard to keep",
    "bookworm",
    packages=("iputils-ping", "libcap2-bin"),
    files=(Added(Path(__file__), "/srv/added.py", 0o640),),
    commands=(
        "rm /etc/issue",  # a whiteout
        "rm -r /etc/skel && mkdir /etc/skel && echo new >/etc/skel/new",  # an opaque folder
        "echo twice >/srv/first && ln /srv/first /srv/second && ln -s first /srv/link",
        "mknod /srv/null c 1 3 && mkfifo /srv/pipe",
        "cp /bin/true /srv/setuid && chown 33:44 /srv/setuid && chmod 4755 /srv/setuid",
        "mkdir -m 1777 /srv/sticky",
    ),
)
Using = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def using() -> Using:
    """Work in a cache for a while, with the recipe `tiny`; other tests of the session keep theirs."""

    @contextlib.contextmanager
    def work(cache: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOOMIDI_LAB_CACHE", str(cache))
            patch.setitem(RECIPES, "tiny", TINY)
            yield

    return work


@pytest.fixture(scope="session")
def buildable_images() -> None:
    """Skips when this machine cannot build images, saying why."""
    try:
        places.check_root()
        mirrors.check_tools()
        mirrors.find()
        places.check_disk()
    except LoomidiError as error:
        pytest.skip(f"no images here: {error}")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with containerd and ctr."""
    try:
        return seeding.built_programs()
    except LoomidiError as error:
        pytest.skip(f"no containerd to import with: {error}")


@pytest.fixture(scope="session")
def new_cache(buildable_images: None) -> Iterator[Callable[[], Path]]:
    """Make caches that hold the bare Debian and the downloads of the user's own, beside it: files can be linked."""
    places.images().mkdir(parents=True, exist_ok=True)
    downloads = places.downloads()
    bare = [places.images() / images.key(RECIPES[name]) for name in ("bookworm", "base")]
    with tempfile.TemporaryDirectory(prefix="test-", dir=places.cache()) as parent:

        def make() -> Path:
            cache = Path(tempfile.mkdtemp(dir=parent))
            (cache / "images" / "apt").mkdir(parents=True)
            for part in ("archives", "bootstrap"):  # apt's own settings, lists and locks are not shared
                for package in (downloads / part).glob("*.deb"):
                    (cache / "images" / "apt" / part).mkdir(exist_ok=True)
                    (cache / "images" / "apt" / part / package.name).hardlink_to(package)
            for folder in filter(Path.is_dir, bare):
                subprocess.run(("cp", "--archive", "--link", str(folder), str(cache / "images")), check=True)
            return cache

        yield make
        shutil.rmtree(parent, ignore_errors=True)
        Path(parent).mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def cache(new_cache: Callable[[], Path]) -> Path:
    """The cache in which `tiny` is."""
    return new_cache()


@pytest.fixture(scope="session")
def tiny(cache: Path, using: Using) -> images.BuiltImage:
    """The small image."""
    with using(cache):
        return images.build(["tiny"], progress=lambda _: None)[0]


@pytest.fixture(scope="session")
def template(tiny: images.BuiltImage, cache: Path, programs: Path, using: Using) -> images.Template:
    """A store with the small image unpacked."""
    with using(cache):
        return images.template([tiny], binaries=programs, progress=lambda _: None)
