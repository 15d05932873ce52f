"""The policy of tuning: within which bounds, and how fast, thresholds may be changed.

Called by `services.fast.tuning`. In: a YAML file, default `rules/enforcer/bounds.yaml`. Out: a frozen `Bounds`. Reading
is strict: what is missing, unknown or the wrong way round is an InputError that names it. The guards hold limits of
their own beside these.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import InputError
from loomidi.origami.online.rules import rules_folder

Ends = tuple[int, int]
_NAMES = {"service": ("packets", "octets", "syns", "peers"), "source": ("packets", "octets", "syns", "ports", "peers")}


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What a proposal may not leave. Counts are of one short window."""

    service: Mapping[str, Ends]  # counter -> least and most
    source: Mapping[str, Ends]
    margin: float  # times what is usual at most
    least_windows: int  # before anything is proposed
    kept_windows: int  # per service and source
    quarantine_s: float  # between seeing a window and learning it
    most_change_per_day: float  # share of the day's first threshold
    worth: float  # share of what is in force; a smaller change is left alone
    ttl_s: float  # of a change
    most_keys: int  # services and sources that are learned

    def of(self, kind: str) -> Mapping[str, Ends]:
        """The bounds of one kind: `service` or `source`."""
        return self.service if kind == "service" else self.source


def read_bounds(path: Path | None = None) -> Bounds:
    """The policy in a file. Raises InputError naming what cannot be used, and what to do."""
    import yaml  # costs start-up time

    chosen = path or rules_folder("enforcer") / "bounds.yaml"
    try:
        data = yaml.safe_load(chosen.read_text(encoding="utf-8"))
        return _bounds(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{chosen}: no policy of tuning: {said}; see docs/enforcer.md") from error


def _bounds(data: Any) -> Bounds:
    if not isinstance(data, dict):
        raise TypeError("it holds no fields")
    numbers = {field.name: field.type for field in dataclasses.fields(Bounds) if field.name not in _NAMES}
    if unknown := sorted(set(data) - set(numbers) - set(_NAMES)):
        raise ValueError(f"{unknown[0]} is no field of it")
    ends = {kind: _ends(kind, data[kind]) for kind in _NAMES}
    plain = {name: (int if kind is int else float)(data[name]) for name, kind in numbers.items()}
    bounds = Bounds(**{**ends, **plain})  # type: ignore[arg-type]  # each by its own field's kind, above
    _check(bounds)
    return bounds


def _ends(kind: str, given: Mapping[str, Any]) -> dict[str, Ends]:
    if set(given) != set(_NAMES[kind]):
        raise ValueError(f"{kind} needs exactly {', '.join(_NAMES[kind])}")
    ends = {name: (int(least), int(most)) for name, (least, most) in given.items()}
    for name, (least, most) in ends.items():
        if not 0 < least <= most:
            raise ValueError(f"{kind}.{name}: [{least}, {most}] is no range above 0")
    return ends


def _check(bounds: Bounds) -> None:
    if bounds.margin < 1:
        raise ValueError(f"a margin of {bounds.margin:g} would alarm on what is usual; use 1 or more")
    if not 0 < bounds.most_change_per_day <= 1:
        raise ValueError("most_change_per_day is a share from 0 to 1")
    if bounds.least_windows < 10 or bounds.kept_windows < bounds.least_windows:
        raise ValueError("least_windows starts at 10, and kept_windows is not less")
    if min(bounds.quarantine_s, bounds.worth) < 0 or bounds.ttl_s <= 0 or bounds.most_keys < 1:
        raise ValueError("times, shares and sizes are above 0")
