"""What pods of a lab run from: the images, CoreDNS among them.

Called by `loomidi-lab build`. In: binaries, the recipes of `loomidi_lab.images`. Out: images in the cache, and the
prepared store that every node shares by hard links, so that `up` imports nothing.
"""

import shutil
from collections.abc import Callable

from loomidi_lab import images
from loomidi_lab.cluster import tools
from loomidi_lab.cluster.places import cache
from loomidi_lab.images import recipes

COREDNS = "lab.loomidi.io/coredns:1"


def build_images(*, everything: bool, progress: Callable[[str], object]) -> None:
    """The default set, or every recipe; then the store. What is there already is left as it is."""
    images.build(recipes.ALL if everything else None, progress=progress)
    if everything:
        images.pause(progress=progress)
    folder = cache() / "coredns-root"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        shutil.copy2(tools.binary("coredns"), folder / "coredns")
        images.image_from_folder(COREDNS, folder, ["/coredns"], title="CoreDNS, built by loomidi-lab")
    finally:
        shutil.rmtree(folder)
    images.template(progress=progress)
