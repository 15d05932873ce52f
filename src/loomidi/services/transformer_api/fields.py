"""The fields of what may be handed in: their kind, their bounds, and why a value cannot be used.

Called by `asking` and `snapshots`. In: parsed JSON. Out: values of the right kind; reasons. The tables here and the
schemas of transformer_control_api.yaml say the same (a test compares them).
"""

import dataclasses
import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST_REASONS = 20
MOST_NUMBER = 10**15  # counts and octets; what is greater is a mistake
MOST_NS = 1 << 62  # of times since the epoch
NAME = re.compile(r"[!-~]{1,253}")  # of entities: printable ASCII without blanks
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")  # of findings, plans and patterns
KEY = re.compile(r"[!-~]{1,255}")  # of a request that may be sent twice


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """What one field takes. `None` stands for not known, wherever the field is not needed."""

    kind: str  # name, whole, number, flag, address, choice, times
    most: float = MOST_NUMBER
    needed: bool = False
    choices: Sequence[str] = ()
    least: float = 0.0

    def wrong(self, value: Any) -> str:
        """Why it cannot be used; empty when it can."""
        if value is None:
            return "is missing" if self.needed else ""
        return "" if _CHECKS[self.kind](self, value) else self.told

    @property
    def told(self) -> str:
        """What it must be."""
        return {
            "name": "must be 1 to 253 printable ASCII letters without blanks",
            "whole": f"must be a whole number from {self.least:g} to {self.most:g}",
            "number": f"must be a number from {self.least:g} to {self.most:g}",
            "flag": "must be true or false",
            "address": "must be an IPv4 or IPv6 address",
            "choice": f"must be one of {', '.join(self.choices)}",
        }[self.kind]


def _is_number(field: Field, value: Any) -> bool:
    fits = type(value) in (int, float) and field.least <= value <= field.most
    return fits and math.isfinite(value)


def _is_whole(field: Field, value: Any) -> bool:
    """JSON has one kind of number: 3.0 is whole."""
    return _is_number(field, value) and value == int(value)


def _is_address(_field: Field, value: Any) -> bool:
    try:
        return isinstance(value, str) and not getattr(ipaddress.ip_address(value), "scope_id", None)
    except ValueError:
        return False


_CHECKS: Mapping[str, Callable[[Field, Any], bool]] = {
    "name": lambda _field, value: isinstance(value, str) and NAME.fullmatch(value) is not None,
    "whole": _is_whole,
    "number": _is_number,
    "flag": lambda _field, value: isinstance(value, bool),
    "address": _is_address,
    "choice": lambda field, value: isinstance(value, str) and value in field.choices,
}


class Reasons:
    """Why a body cannot be used: the first of them in words, the others counted."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.beyond = 0

    def add(self, reason: str) -> None:
        """One more."""
        if len(self.found) < MOST_REASONS:
            self.found.append(reason)
        else:
            self.beyond += 1

    def __len__(self) -> int:
        return len(self.found) + self.beyond

    def told(self) -> list[str]:
        """All that are told."""
        return self.found + ([f"and {self.beyond} more of them"] if self.beyond else [])


def checked_rows(
    given: Any, where: str, known: Mapping[str, Field], most: int, reasons: Reasons
) -> list[Mapping[str, Any]]:
    """Objects of an array whose known fields fit. Others of their fields are left to the caller."""
    if not isinstance(given, list):
        reasons.add(f"{where} must be an array of objects")
        return []
    if len(given) > most:
        reasons.add(f"{where} has {len(given):,} entries, at most {most:,} are taken: send the busiest")
        return []
    rows: list[Mapping[str, Any]] = []
    for at, row in enumerate(given):
        if not isinstance(row, dict):
            reasons.add(f"{where}[{at}] must be an object")
            continue
        wrong = [(name, why) for name, field in known.items() if (why := field.wrong(row.get(name)))]
        for name, why in wrong:
            reasons.add(f"{where}[{at}].{name} {why}")
        if not wrong:
            rows.append(row)
    return rows
