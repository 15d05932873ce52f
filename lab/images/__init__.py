"""Images of the lab, without Docker and without a registry: Debian roots to OCI layers to stores of containerd.

Called by `loomidi_lab.cluster` and `loomidi-lab build`. In: names of recipes, or folders. Out: `BuiltImage`s in the
cache, a `Template` with all of them unpacked, and a copy of it for each node in a fraction of a second. Starting
containers is containerd's part.
"""

from loomidi_lab.images.building import build, built, image_from_folder, key, pause, prune
from loomidi_lab.images.oci import write_archive, write_layout
from loomidi_lab.images.records import BuiltImage, Layer, Running
from loomidi_lab.images.seeding import Template, seed, template

__all__ = [
    "BuiltImage",
    "Layer",
    "Running",
    "Template",
    "build",
    "built",
    "image_from_folder",
    "key",
    "pause",
    "prune",
    "seed",
    "template",
    "write_archive",
    "write_layout",
]
