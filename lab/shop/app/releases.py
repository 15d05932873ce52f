"""What the releases of the shop differ in: 1.0 is good, each other one has a real bug that a review did not find.

Chosen by SHOP_RELEASE, so that rolling out a bad release is an ordinary rollout. The frame and the services call the
hooks; a hook of the good release does what is right. No hook is told to fail: the bugs do their harm by what they do.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loomidi_lab.shop.app.settings import ConfigurationError


class Release:
    """1.0: the good one."""

    def started(self) -> None:
        """Called once, before anything else."""

    def ready(self) -> bool:
        """Whether the service may become ready."""
        return True

    def answered(self, path: str, body: bytes) -> None:
        """Called with each answer, for the access statistics."""

    def gives_back(self, operation: str) -> bool:
        """Whether a database connection goes back into the pool after this operation."""
        return True

    def ranked(self, items: Sequence[Any], score: Callable[[Any], float], most: int) -> list[Any]:
        """The `most` best items by score, best first."""
        return sorted(items, key=score, reverse=True)[:most]

    def spooled(self, folder: Path, name: str, text: str, keep: int) -> None:
        """Called after a mail was written: keeps the newest `keep` files."""
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".eml"))
        for old in names[:-keep]:
            (folder / old).unlink(missing_ok=True)


class MemoryLeak(Release):
    """1.1-memory-leak: the access statistics keep every page for ever, in a buffer of fixed size."""

    def __init__(self) -> None:
        self._pages: list[bytearray] = []

    def answered(self, path: str, body: bytes) -> None:
        """The bug: a page cache that has no bound and whose key, the request, never comes again."""
        page = bytearray(b"\x20" * 262144)
        page[: len(body[:262144])] = body[:262144]
        self._pages.append(page)


class DescriptorLeak(Release):
    """1.2-fd-leak: the statistics file is opened for every answer and never closed."""

    def __init__(self) -> None:
        self._files: list[int] = []

    def answered(self, path: str, body: bytes) -> None:
        """The bug: os.open without os.close; the descriptors are held by the list."""
        self._files.append(os.open("/proc/self/stat", os.O_RDONLY))


class ConnectionLeak(Release):
    """1.3-connection-leak: the order history returns early and forgets its connection."""

    def gives_back(self, operation: str) -> bool:
        """The bug: one path without the release of the connection."""
        return operation != "history"


class DiskFill(Release):
    """1.4-disk-fill: a debug copy of every mail with its attachments, and nothing is ever deleted."""

    def spooled(self, folder: Path, name: str, text: str, keep: int) -> None:
        """The bug: debug output that was left on."""
        (folder / f"{name}.debug").write_text(text + "." * 262144)


class Crash(Release):
    """1.5-crash: reads a setting that no environment has."""

    def started(self) -> None:
        """The bug: KeyError at start."""
        os.environ["SHOP_WAREHOUSE_REGION"]


class Slow(Release):
    """1.6-slow: a ranking that compares every pair, again for every place."""

    def ranked(self, items: Sequence[Any], score: Callable[[Any], float], most: int) -> list[Any]:
        """The bug: quadratic work where a sort would do."""
        left, best = list(items), list[Any]()
        while left and len(best) < most:
            top = max(left, key=lambda item: sum(score(item) >= score(other) for other in left))
            best.append(top)
            left.remove(top)
        return best


class NeverReady(Release):
    """1.7-never-ready: waits for a warm-up that nobody starts."""

    def ready(self) -> bool:
        """The bug: a condition that never comes true."""
        return False


_RELEASES: dict[str, Callable[[], Release]] = {
    "1.0": Release,
    "1.1-memory-leak": MemoryLeak,
    "1.2-fd-leak": DescriptorLeak,
    "1.3-connection-leak": ConnectionLeak,
    "1.4-disk-fill": DiskFill,
    "1.5-crash": Crash,
    "1.6-slow": Slow,
    "1.7-never-ready": NeverReady,
}
NAMES = tuple(_RELEASES)


def load(name: str) -> Release:
    """The release of that name. Raises ConfigurationError for one that was never built."""
    if name not in _RELEASES:
        raise ConfigurationError(f"SHOP_RELEASE is {name!r}; there is {', '.join(NAMES)}")
    return _RELEASES[name]()
