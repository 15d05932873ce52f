"""Stores of containerd that hold all images unpacked: made once for a set of images, then given to nodes in no time.

Called by `loomidi_lab.cluster` at `up`. In: built images and the folder of containerd's binaries. Out: `Template`, and
`seed`ed roots of nodes. What containerd never writes in place, blobs and unpacked files, is shared by hard links: an
overlay copies a file up before it changes it, and a committed snapshot is only ever a lower folder. All else, the
databases above all, is copied for each node.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable
from loomidi_lab.images import building, oci, places
from loomidi_lab.images.places import Progress
from loomidi_lab.images.recipes import PAUSE
from loomidi_lab.images.records import BuiltImage

VERSION = 3  # raise it when a template would now be made in another way
NAMESPACE = "k8s.io"  # where the CRI plugin of containerd looks for images
_BLOBS = Path("io.containerd.content.v1.content") / "blobs"
_SNAPSHOTS = Path("io.containerd.snapshotter.v1.overlayfs") / "snapshots"
SHARED = (_BLOBS, _SNAPSHOTS)
_STORE = (
    _BLOBS.parts[0],
    _SNAPSHOTS.parts[0],
    "io.containerd.metadata.v1.bolt",
)  # the rest each containerd makes itself
_READY_S, _STOP_S, _IMPORT_S = 20.0, 20.0, 300.0
_CONFIG = """version = 3
root = "{root}"
state = "{short}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "{short}/sock"
[ttrpc]
  address = "{short}/ttrpc"
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A store of containerd with images unpacked; never changed once it is there."""

    key: str
    folder: Path
    images: Mapping[str, str]  # full name -> digest of its manifest

    @property
    def root(self) -> Path:
        """As containerd's `root`."""
        return self.folder / "root"


def template(
    images: Sequence[BuiltImage] | None = None, *, binaries: Path | None = None, progress: Progress = print
) -> Template:
    """The store with these images, by default with all that are built, made now when it is not there.

    `binaries` holds `containerd` and `ctr`, by default those that `loomidi-lab build` left in the cache. Raises
    EnvironmentLacks, Retryable.
    """
    chosen = list(building.built() if images is None else images)
    if images is None and PAUSE not in {image.name for image in chosen}:
        raise EnvironmentLacks("no images are built yet; run `loomidi-lab build`")
    programs = binaries or built_programs()
    version = f"{VERSION} {_version(programs)}"
    name = _key(chosen, version)
    done = Template(name, places.templates() / name, {image.name: oci.digest(image.manifest) for image in chosen})
    if done.root.is_dir():
        done.folder.touch()  # the newest are kept
        return done
    places.check_root()
    places.check_disk()
    with places.building(progress) as partial:
        if not done.root.is_dir():  # another process may have made it meanwhile
            record = {"version": version, "images": done.images}
            (partial / "template").mkdir()
            (partial / "template" / "template.json").write_text(json.dumps(record, indent=1))
            _make(chosen, programs, partial / "template", _nearest(version), progress)
            places.templates().mkdir(exist_ok=True)
            (partial / "template").rename(done.folder)
            _keep_newest(done)
    return done


def seed(source: Template, folder: Path, prefix: Sequence[str] = ()) -> Path:
    """Give a node its store: `folder/root`, to be containerd's `root`. Raises InputError when there is one already.

    `prefix` stands before the copying command: what makes it part of the lab, so that it cannot outlive it.
    """
    target = folder / "root"
    if target.exists():
        raise InputError(f"{target} is there already; a node is seeded once, take the lab down first")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "root.partial"
    places.remove(partial)
    linking = folder.stat().st_dev == source.root.stat().st_dev
    command = [*prefix, "cp", "--archive", "--link" if linking else "--reflink=auto", str(source.root), str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        places.remove(partial)
        words = done.stderr.strip().splitlines() or ["no word of why"]
        raise Retryable(f"cannot seed {target}: {words[-1]}; see whether its disk is full, then try again")
    if linking:
        _unshare(source.root, partial)
    partial.rename(target)
    return target


def _unshare(source: Path, target: Path) -> None:
    """Replace the hard links of everything outside the shared folders by copies."""
    shared = [target / part for part in SHARED]
    for parent, folders, names in os.walk(target):
        folders[:] = [name for name in folders if Path(parent) / name not in shared]
        for name in names:
            path = Path(parent) / name
            if path.is_symlink():
                continue
            path.unlink()
            shutil.copy2(source / path.relative_to(target), path)


def _make(
    images: Sequence[BuiltImage], programs: Path, folder: Path, before: Template | None, progress: Progress
) -> None:
    """Import and unpack images into a store below `folder`, beginning with those that an earlier template has."""
    started = time.monotonic()
    root = folder / "root"
    if before:
        seed(before, folder)
    root.mkdir(exist_ok=True)
    there = before.images if before else {}
    wanted = {image.name: oci.digest(image.manifest) for image in images}
    stale = [name for name, digest in there.items() if wanted.get(name) != digest]
    lacking = [image for image in images if there.get(image.name) != wanted[image.name]]
    progress(f"images: unpacking for the nodes: {', '.join(image.name.rpartition('/')[2] for image in lacking) or '-'}")
    with running_store(programs, root, places.images() / "logs" / "containerd.log") as address:
        if stale:
            _ctr(programs, address, "image", "rm", "--sync", *stale)
        if lacking:
            _import(lacking, programs, address)
    for image in images:  # the store's copies of layers are the same bytes that lie here already
        for layer in image.layers:
            _relink(layer.path, root / _BLOBS / "sha256" / layer.digest.removeprefix("sha256:"))
    for path in root.iterdir():
        if path.name not in _STORE:
            shutil.rmtree(path)
    progress(f"images: unpacked in {time.monotonic() - started:.0f} s")


def _import(images: Sequence[BuiltImage], programs: Path, address: Path) -> None:
    command = [
        *(str(programs / "ctr"), "--address", str(address), "--namespace", NAMESPACE),
        *("image", "import", "--snapshotter", "overlayfs", "-"),
    ]
    with tempfile.TemporaryFile("w+") as words:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=subprocess.STDOUT) as process:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError), process.stdin:  # ctr ended early; its words say why
                oci.write_archive(images, process.stdin)
            code = process.wait(_IMPORT_S)
        words.seek(0)
        lines = words.read().strip().splitlines() or ["no word of why"]
    if code:
        raise Retryable(f"containerd cannot import the images: {lines[-1][:200]}; try again")


@contextlib.contextmanager
def running_store(programs: Path, root: Path, log: Path) -> Iterator[Path]:
    """containerd over a store, in a mount namespace of its own; gives its socket. It dies with this process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ll-") as short, log.open("w") as words:  # a socket's path has 107 bytes
        config = Path(short) / "config.toml"
        config.write_text(_CONFIG.format(root=root, short=short))
        confined = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private")
        command = (*confined, str(programs / "containerd"), "--config", str(config))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT)
        try:
            _wait(process, programs, Path(short) / "sock", log)
            yield Path(short) / "sock"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: "subprocess.Popen[bytes]", programs: Path, address: Path, log: Path) -> None:
    until = time.monotonic() + _READY_S
    command = (str(programs / "ctr"), "--address", str(address), "version")
    while not address.exists() or subprocess.run(command, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no word of why"]
            raise Retryable(f"containerd does not start: {lines[-1][:200]}; see {log}")
        time.sleep(0.05)


def _relink(source: Path, target: Path) -> None:
    """Make a file another name of one with the same content; leave it where that is impossible."""
    if target.samefile(source):
        return
    partial = target.with_name(f"{target.name}.partial")
    with contextlib.suppress(OSError):
        partial.hardlink_to(source)
        partial.rename(target)


def _nearest(version: str) -> Template | None:
    """The newest template of the same containerd: most images are the same as last time."""
    found = sorted(places.templates().glob("*/template.json"), key=lambda path: path.parent.stat().st_mtime)
    for path in reversed(found):
        record = json.loads(path.read_text())
        if record["version"] == version and (path.parent / "root").is_dir():
            return Template(path.parent.name, path.parent, record["images"])
    return None


def _ctr(programs: Path, address: Path, *words: str) -> None:
    command = (str(programs / "ctr"), "--address", str(address), "--namespace", NAMESPACE, *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Retryable(f"ctr {words[0]} {words[1]} failed: {done.stderr.strip()[:200]}; try again")


def _keep_newest(current: Template, kept: int = 2) -> None:
    """Remove old templates; nodes seeded from them keep their links."""
    others = [path for path in places.templates().iterdir() if path != current.folder]
    for path in sorted(others, key=lambda each: each.stat().st_mtime, reverse=True)[kept - 1 :]:
        places.remove(path)


def _key(images: Sequence[BuiltImage], version: str) -> str:
    content = sorted(f"{image.name} {oci.digest(image.manifest)}" for image in images)
    return hashlib.sha256("\n".join([version, *content]).encode()).hexdigest()[:16]


def _version(programs: Path) -> str:
    for name in ("containerd", "ctr"):
        if not os.access(programs / name, os.X_OK):
            raise EnvironmentLacks(f"{programs / name} is missing; run `loomidi-lab build`")
    command = (str(programs / "containerd"), "--version")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def built_programs() -> Path:
    """What `loomidi-lab build` made last."""
    found = [path.parent for path in (places.cache() / "tools").glob("containerd-*/ctr")]
    if not found:
        raise EnvironmentLacks("containerd is not built yet; run `loomidi-lab build`")
    return max(found, key=lambda folder: folder.stat().st_mtime)
