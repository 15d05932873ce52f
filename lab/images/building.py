"""Build images, each once: what is in the cache under its key is left alone, a broken build leaves nothing half made.

Called by `loomidi-lab build`, and by others with programs of their own to run in pods. In: names of recipes, or a
folder. Out: `BuiltImage`. The key covers recipe, files, parent and this code's version, not the day's archive: a new
Debian package comes in when a recipe changes or the cache is emptied.
"""

import dataclasses
import json
import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi_lab.images import layers, mirrors, oci, pausing, places, recipes, roots, staging, wheels
from loomidi_lab.images.places import Progress
from loomidi_lab.images.recipes import Recipe
from loomidi_lab.images.records import Added, BuiltImage, Layer, Running

VERSION = 1  # raise it when the same recipe would now give other bytes
_EPOCH_S = 1_700_000_000  # the date of files in images that no archive dates


def build(names: Sequence[str] | None = None, *, progress: Progress = print) -> list[BuiltImage]:
    """The images of these names, by default the default set and the pause image. Raises UsageError, EnvironmentLacks,
    Retryable."""
    wanted = tuple(recipes.DEFAULT if names is None else names)
    chosen = recipes.select(wanted)
    places.check_root()
    with places.building(progress) as partial:
        keys = {recipe.name: key(recipe) for recipe in chosen}  # once: somebody may be editing the shop
        missing = [recipe for recipe in chosen if not _folder(keys[recipe.name]).exists()]
        if missing:
            mirrors.check_tools()
            places.check_disk()
            mirror = mirrors.find()
            progress(f"images: {', '.join(recipe.name for recipe in missing)} to be built")
            session = _Session(partial, mirror, mirrors.prepare(mirror, progress), keys, progress)
            seconds = {recipe.name: session.build(recipe) for recipe in missing}
        else:
            seconds = {}
        built = [load(_folder(keys[name]), seconds.get(name, 0.0)) for name in wanted]
        for image in built:
            _tag(image)
    prune()
    return built if names is not None else [*built, pause(progress=progress)]


def key(recipe: Recipe) -> str:
    """What an image depends on, as one name."""
    content = dataclasses.asdict(recipe)
    for name in ("before", "files", "lock"):
        del content[name]
    content |= {
        "version": VERSION,
        "script": staging.digest([[_as_file(places.PACKAGE / "inside.sh")]]),
        "parent": key(recipes.RECIPES[recipe.parent]) if recipe.parent else "",
        "files": staging.digest([recipe.before, recipe.files, [recipe.lock] if recipe.lock else []]),
        "wheel": wheels.digest() if recipe.lock else "",
        "machine": oci.architecture(),
    }
    return oci.digest(oci.canonical(content)).removeprefix("sha256:")[:16]


def image_from_folder(
    name: str, root: Path, argv: Sequence[str], *, running: Running | None = None, title: str = ""
) -> BuiltImage:
    """An image of one layer that holds a folder as it is; `argv` is the command, or see `running` for all of it.

    Raises InputError when the folder is empty or missing.
    """
    if not root.is_dir() or not any(root.iterdir()):
        raise InputError(f"{root} holds nothing to make the image {name} of; fill the folder first")
    places.check_root()
    runs = dataclasses.replace(running or Running(), entrypoint=tuple(argv))
    with places.building(lambda _: None) as partial:
        work = partial / "folder"
        work.mkdir()
        layer = layers.write(root, work / "layer.tar", _EPOCH_S)
        record = {"version": VERSION, "name": name, "layer": layer.digest, "running": dataclasses.asdict(runs)}
        own = oci.digest(oci.canonical(record)).removeprefix("sha256:")[:16]
        if not _folder(own).exists():
            config = oci.configuration(runs, [layer], {"title": title or name}, _EPOCH_S)
            _finish(work, {"name": name, "key": own, "parent": ""}, layer, [layer], config)
        image = load(_folder(own))
        _tag(image)
    return image


def pause(*, progress: Progress = print) -> BuiltImage:
    """The image of every pod's sandbox: one static program that waits. Raises EnvironmentLacks without a compiler."""
    folder = pausing.compiled(progress).parent
    return image_from_folder(recipes.PAUSE, folder, ["/pause"], title="A program that waits", running=Running())


def load(folder: Path, seconds: float = 0.0) -> BuiltImage:
    """An image by its folder in the cache."""
    record = json.loads((folder / "image.json").read_text())
    below = load(_folder(record["parent"])).layers if record["parent"] else ()
    own = Layer(folder / "layer.tar", **record["layer"])
    config, manifest = ((folder / name).read_bytes() for name in ("config.json", "manifest.json"))
    return BuiltImage(record["name"], record["key"], folder, (*below, own), config, manifest, seconds)


def built() -> list[BuiltImage]:
    """Every image that can be used now, the latest of each name, sorted by name."""
    links = sorted(places.tags().glob("*")) if places.tags().is_dir() else []
    return [load(link.resolve()) for link in links if (link / "image.json").exists()]


def prune(*, unused_days: float = 14.0) -> list[str]:
    """Remove images that no name points to and that were not used for some days; gives their keys."""
    kept: set[str] = set()
    for image in built():
        kept |= {layer.path.parent.name for layer in image.layers}
    until = time.time() - unused_days * 86_400
    removed = []
    with places.building(lambda _: None):
        for record in places.images().glob("*/image.json"):
            if record.parent.name not in kept and record.parent.stat().st_mtime < until:
                places.remove(record.parent)
                removed.append(record.parent.name)
    return removed


class _Session:
    """One run of `build`: a half-made folder, the mirror, apt's settings."""

    def __init__(
        self, partial: Path, mirror: mirrors.Mirror, settings: Path, keys: Mapping[str, str], progress: Progress
    ) -> None:
        self._partial = partial
        self._mirror = mirror
        self._settings = settings
        self._keys = keys
        self._progress = progress
        self._newest_s = int(os.environ.get("SOURCE_DATE_EPOCH") or mirrors.newest_s())

    def build(self, recipe: Recipe) -> float:
        """Make one image, its parents being there, and rename it into place; gives the seconds that it took."""
        started = time.monotonic()
        work = self._partial / recipe.name
        work.mkdir()
        log = places.images() / "logs" / f"{recipe.name}.log"
        below = load(_folder(self._keys[recipe.parent])).layers if recipe.parent else ()
        self._progress(f"images: {recipe.name}, {_what(recipe)}")
        if recipe.parent:
            self._stage(recipe, work)
            lower = [layer.path.parent / "upper" for layer in reversed(below)]
            upper = roots.extend(recipe, lower, self._settings, work, log=log, newest_s=self._newest_s)
        else:
            upper = roots.bootstrap(self._mirror, work, log, self._newest_s)
        layer = layers.write(upper, work / "layer.tar", self._newest_s)
        stack = [*below, layer]
        config = oci.configuration(recipe.running, stack, _labels(recipe), self._newest_s)
        record = {
            "name": recipe.reference,
            "key": self._keys[recipe.name],
            "parent": below[-1].path.parent.name if below else "",
        }
        _finish(work, record, layer, stack, config)
        seconds = time.monotonic() - started
        self._progress(f"images: {recipe.name} built, {layer.size_bytes / 1e6:.0f} MB more, {seconds:.0f} s")
        return seconds

    def _stage(self, recipe: Recipe, work: Path) -> None:
        staging.lay_out(recipe.before, work / "before", self._newest_s)
        staging.lay_out(recipe.files, work / "files", self._newest_s)
        if recipe.lock:
            wheels.install(work / "files", work)
            staging.settle(work / "files", self._newest_s)


def _finish(work: Path, record: dict[str, Any], layer: Layer, stack: Sequence[Layer], config: bytes) -> None:
    """Write what the image is, then let it appear under its key."""
    (work / "config.json").write_bytes(config)
    (work / "manifest.json").write_bytes(oci.manifest(config, stack))
    (work / "image.json").write_text(json.dumps({**record, "layer": layer.record()}, indent=1))
    work.rename(_folder(record["key"]))


def _labels(recipe: Recipe) -> dict[str, str]:
    return {"title": recipe.title, "ref.name": recipe.reference, "base.name": f"debian:{recipes.SUITE}"}


def _what(recipe: Recipe) -> str:
    if not recipe.parent:
        return "by debootstrap"
    return f"{len(recipe.packages)} packages" if recipe.packages else "files"


def _folder(name: str) -> Path:
    return places.images() / name


def _as_file(path: Path) -> Added:
    return Added(path, f"/{path.name}")


def _tag(image: BuiltImage) -> None:
    """Point the name to the image."""
    places.tags().mkdir(exist_ok=True)
    link = places.tags() / urllib.parse.quote(image.name, safe="")
    partial = link.with_name(f".{link.name}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(Path("..") / image.key)
    partial.rename(link)
    os.utime(image.folder)
