"""Where the lab keeps things, and what its things are called: a lab can be found and removed by its name alone.

Called by everything in `cluster`. In: the environment (LOOMIDI_LAB_CACHE, XDG_CACHE_HOME) and a lab's name. Out: paths,
names of namespaces, links and cgroups. Touches nothing.
"""

import dataclasses
import os
import re
from pathlib import Path

from loomidi.contracts.errors import UsageError

PACKAGE = Path(__file__).resolve().parent
DEFAULT = "lab"
CGROUP = "loomidi-lab"  # under it one group a lab, under that one a node and `lab` for everything else
NETNS = Path("/run/netns")
_NAME = re.compile(r"[a-z][a-z0-9]{0,8}")  # `ll-<name>` is also a link, and those have 15 characters at most


def cache() -> Path:
    """Built tools, images and the folders of running labs."""
    given = os.environ.get("LOOMIDI_LAB_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loomidi" / "lab"


def labs() -> Path:
    """The folder with one folder for each lab: beside the images, since nodes share files with them by hard links."""
    return cache() / "run"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """The names of everything that belongs to one lab."""

    name: str

    @property
    def folder(self) -> Path:
        """State, certificates, logs, nodes. Gone after `down`."""
        return labs() / self.name

    @property
    def state(self) -> Path:
        """The JSON file that says what is up."""
        return self.folder / "lab.json"

    @property
    def lock(self) -> Path:
        """Held while a lab is brought up or taken down."""
        return labs() / f".{self.name}.lock"

    @property
    def link(self) -> str:
        """The host's end of the link into the lab."""
        return f"ll-{self.name}"

    @property
    def control(self) -> str:
        """Network namespace of the control plane and router."""
        return f"ll-{self.name}-cp"

    @property
    def outside(self) -> str:
        """Network namespace of the Internet beyond the cluster."""
        return f"ll-{self.name}-out"

    @property
    def cgroup(self) -> str:
        """Path of the lab's group, relative to a hierarchy."""
        return f"{CGROUP}/{self.name}"

    def node(self, number: int) -> str:
        """Network namespace of a node, 1, 2, ..."""
        return f"ll-{self.name}-n{number}"

    def namespaces(self) -> list[str]:
        """Network namespaces of this lab that exist now."""
        found = NETNS.glob(f"ll-{self.name}-*") if NETNS.is_dir() else ()
        return sorted(path.name for path in found)


def place(name: str) -> Place:
    """Raises UsageError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a lab; use 1 to 9 lower case letters and digits, a letter first")
    return Place(name)


def known() -> list[Place]:
    """Labs that left something here: running, half made or half gone."""
    folders = labs().glob("*/") if labs().is_dir() else ()
    names = {path.name for path in folders}
    names |= {path.name.split("-")[1] for path in NETNS.glob("ll-*-*")} if NETNS.is_dir() else set()
    return [Place(name) for name in sorted(names) if _NAME.fullmatch(name)]
