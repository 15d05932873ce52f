"""The words of each pattern and the names of ATT&CK techniques, read from the two tables beside this file.

Called by `telling` and by the renderers for titles. In: a pattern or technique id. Out: text. A pattern that the table
does not know gets neutral words, so that a new detector is explained before it has its own phrase.
"""

import dataclasses
import functools
import tomllib
from pathlib import Path

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """The words of one pattern, without figures."""

    title: str
    seen: str  # one sentence, without its full stop
    rule: str  # likewise: what has to hold for the detector to say so
    why: str  # why it matters, whole sentences


@functools.cache
def _phrases() -> dict[str, Phrase]:
    table = tomllib.loads((_HERE / "phrases.toml").read_text(encoding="utf-8"))
    return {pattern: Phrase(**words) for pattern, words in table.items()}


@functools.cache
def _techniques() -> dict[str, str]:
    return {key: str(name) for key, name in tomllib.loads((_HERE / "techniques.toml").read_text("utf-8")).items()}


def patterns() -> tuple[str, ...]:
    """The patterns that have words of their own."""
    return tuple(_phrases())


def phrase(pattern: str) -> Phrase:
    """The words of a pattern; neutral ones for a pattern without an entry."""
    known = _phrases().get(pattern)
    if known is not None:
        return known
    title = pattern.replace("_", " ").strip().capitalize() or "Finding"
    return Phrase(
        title=title,
        seen=f"The traffic matched the pattern '{title.lower()}'",
        rule=f"the detector for '{title.lower()}' holds its limits to be exceeded",
        why="It departs from what this network normally does.",
    )


def technique(identifier: str) -> str:
    """`T1046` -> `T1046 Network Service Discovery`; an id without a name stays as it is."""
    return f"{identifier} {_techniques().get(identifier, '')}".strip()
