"""Whether a measured value is what a scenario wants: at_least, at_most, equals, matches.

Called by `steps.wait` and the symptoms. In: the arguments of one of them. Out: `holds(value)` and words for a table.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """All that is given must hold; nothing given: at least 1 (or any text that is not empty)."""

    at_least: float | None = None
    at_most: float | None = None
    equals: Any = None
    matches: str | None = None  # regular expression, anywhere in the text

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Comparison":
        """From the keys of a step or symptom that has them."""
        low, high = arguments.get("at_least"), arguments.get("at_most")
        return cls(
            None if low is None else float(low),
            None if high is None else float(high),
            arguments.get("equals"),
            arguments.get("matches"),
        )

    def holds(self, value: Any) -> bool:
        """Whether the value is as wanted; what is no number fails a numeric comparison."""
        number = _number(value)
        if self.equals is not None and str(value).lower() != str(self.equals).lower():
            return False
        if self.matches is not None and not re.search(self.matches, str(value)):
            return False
        if self.at_least is not None and not (number is not None and number >= self.at_least):
            return False
        if self.at_most is not None and not (number is not None and number <= self.at_most):
            return False
        if (self.at_least, self.at_most, self.equals, self.matches) == (None, None, None, None):
            return number >= 1 if number is not None else bool(value)
        return True

    @property
    def final(self) -> bool:
        """Whether it can only be judged at the end: what is still small may grow."""
        return self.at_most is not None

    def __str__(self) -> str:
        parts = []
        if self.equals is not None:
            parts.append(f"= {self.equals}")
        if self.matches is not None:
            parts.append(f"matches {self.matches}")
        if self.at_least is not None:
            parts.append(f">= {self.at_least:g}")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:g}")
        return " and ".join(parts) or ">= 1"


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
