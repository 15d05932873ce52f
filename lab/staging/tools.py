"""Where a tool for the outside namespace is found: on the host, else in the attacker image, mounted for it alone.

Called by `steps.outside`. In: a step's arguments. Out: a prefix for its command. The mount lives in a mount namespace
of the command's own and goes with it: no host needs hping3 or slowhttptest installed, and nothing stays mounted.
"""

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import EnvironmentLacks

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

_IMAGE = "lab.loomidi.io/attacker:1"
# $1 lower folders, $2 mount point, then the command
_ENTER = """
mount -t overlay overlay -o "lowerdir=$1" "$2" && cd "$2" && mount -t tmpfs tmpfs tmp && mount --rbind /dev dev &&
mount -t proc proc proc || exit 126
root=$2; shift 2
exec chroot "$root" "$@"
"""


def prefix(lab: "Lab", arguments: Mapping[str, Any]) -> list[str]:
    """Nothing for what the host has; else a change of root. Raises EnvironmentLacks when the image is not built."""
    if "program" in arguments or (not arguments.get("tool") and shutil.which(str(arguments["command"][0]))):
        return []
    from loomidi_lab.images import built

    image = next((image for image in built() if image.name == _IMAGE), None)
    if image is None:
        raise EnvironmentLacks(f"{_IMAGE} is not built; run: loomidi-lab build")
    lower = ":".join(str(layer.path.parent / "upper") for layer in reversed(image.layers))
    place = lab.folder / "staging" / "root"
    place.mkdir(parents=True, exist_ok=True)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", lower, str(place)]
