"""The reader of times that the recorder shares with Loomidi's own sources."""

from loomidi.loom.sources.times import nanoseconds

__all__ = ["nanoseconds"]
