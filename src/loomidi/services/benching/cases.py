"""One case of a root cause benchmark, whatever the data set.

Made by the readers beside it, read by `scoring`.
"""

import dataclasses
from collections.abc import Callable

from loomidi.origami.causes import Observed, Symptom, Window


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """`truth` and `kind` are for the scores only: no method is given them."""

    name: str
    group: str  # day or scenario; never pooled without being shown apart
    kind: str  # of the fault
    truth: str  # the entity at fault, empty where nothing is wrong
    window: Window
    observe: Callable[[], Observed]
    symptom: Symptom | None = None
