"""Schemas of the contracts' records: a field that a record gets or loses is one that the resource gets or loses.

Called by `folds`. In: a record of `contracts` and a description for each field. Out: named schemas. A field without a
description stops the generator, and so does a description without a field. Names follow Kubernetes: `ttl_s` is
`ttlSeconds`, a time in nanoseconds (`first_ns`) is `firstTime` in RFC 3339.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from loomidi.fold.resources import schemas
from loomidi.fold.resources.schemas import Fields, Schema

LIST_SIZE = 64  # items, of a list that the contracts leave open
_UNITS = {"s": "Seconds", "ns": "Time"}


def camel(name: str) -> str:
    """A record's field in the resource's spelling."""
    head, *tail = name.split("_")
    if tail and tail[-1] in _UNITS:
        return head + "".join(map(str.capitalize, tail[:-1])) + _UNITS[tail[-1]]
    return head + "".join(map(str.capitalize, tail))


def fields_of(
    record: type, told: Mapping[str, str], *, without: Iterable[str] = (), but: Fields | None = None
) -> Fields:
    """Schemas of a record's fields, by their names in the resource; those in `but` are given as they shall be."""
    given, left_out = but or {}, set(without)
    hints = typing.get_type_hints(record)
    names = [field.name for field in dataclasses.fields(record) if field.name not in left_out]
    silent = sorted(set(names) ^ (set(told) | set(given)))
    if silent:
        raise LookupError(f"{record.__name__}: each field has one description, look at {', '.join(silent)}")
    return {camel(name): given.get(name) or _of_type(name, hints[name], told[name]) for name in names}


def _of_type(name: str, kind: Any, description: str) -> Schema:
    """The schema of one type."""
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return schemas.choice(description, kind)
    if typing.get_origin(kind) is tuple:
        return schemas.texts(description, "One of them.", most=LIST_SIZE)
    if typing.get_origin(kind) is types.UnionType:
        return schemas.flag(description) if bool in typing.get_args(kind) else schemas.text(description)
    if kind is int and name.endswith("_ns"):
        return schemas.moment(description)
    plain: Schema = _PLAIN[kind](description)
    return plain


_PLAIN: Mapping[Any, Any] = types.MappingProxyType(
    {str: schemas.text, int: schemas.whole, float: schemas.fraction, bool: schemas.flag}
)
