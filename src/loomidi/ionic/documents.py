"""A plan as a document: its canonical JSON, its content-bound id, its hash, and the way back from JSON.

Called by `decide` (which makes plans), `act` (which stores them in the first receipt and reads them back after a
crash) and `loomidi policy`. In and out: plain JSON values. Reading is strict: an unknown, missing or mistyped field is
a BadPlan that names it; whether the plan is allowed is left to the guards.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Extension, Plan, content_id
from loomidi.ionic.errors import BadPlan

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Sorted keys, no spaces, UTF-8. Raises BadPlan for NaN and infinities, which JSON does not have."""
    return canonical_text(value).encode()


def canonical_text(value: Any) -> str:
    """The same before it is octets; of any JSON value."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        raise BadPlan(f"the plan holds a value that JSON cannot carry: {error}") from error


def plan_hash(plan: Plan | Extension) -> str:
    """SHA-256 hex of the plan's canonical JSON, the manifest included; of an extension likewise."""
    return hashlib.sha256(canonical(plan.as_dict())).hexdigest()


def plan_id(plan: Plan) -> str:
    """The id that the plan's content gives; a plan that was changed has another."""
    content = plan.as_dict()
    del content["id"]
    return content_id("plan", content)


def extension_of(plan: Plan, until_ns: int, now_ns: int, valid_s: float = 60.0) -> Extension:
    """A later end for this plan, to be judged and signed within `valid_s`; times are ns since the epoch."""
    unnamed = Extension("", plan.id, until_ns, now_ns, now_ns + round(valid_s * 1e9))
    return dataclasses.replace(unnamed, id=extension_id(unnamed))


def extension_id(extension: Extension) -> str:
    """The id that its content gives."""
    content = extension.as_dict()
    del content["id"]
    return content_id("extension", content)


def rule_id(plan: str) -> int:
    """The 32-bit number, never 0, by which a data-plane entry names the plan (given by its id) it belongs to."""
    return int.from_bytes(hashlib.sha256(plan.encode()).digest()[:4], "big") or 1


def read_plan(document: Any) -> Plan:
    """The plan in a parsed JSON document. Raises BadPlan naming the first field that is wrong."""
    plan: Plan = _read(Plan, document, "plan")
    return plan


Kind = typing.TypeVar("Kind")


def read_record(kind: type[Kind], document: Any, where: str) -> Kind:
    """The same for a part of a plan; `where` it lies, for messages."""
    record: Kind = _read(kind, document, where)
    return record


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _read(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`, or BadPlan."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _either(arguments, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list", value)
        return tuple(_read(arguments[0], item, f"{where}[{at}]") for at, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), where, "an object", value)
        return dict(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        names = [member.value for member in kind]
        _expect(value in names, where, f"one of {', '.join(names)}", value)
        return kind(value)
    return _scalar(kind, value, where)


def _record(kind: type, value: Any, where: str) -> Any:
    _expect(isinstance(value, Mapping), where, "an object", value)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise BadPlan(f"{where}.{unknown[0]}: no such field; fields are {', '.join(fields)}")
    nothing = dataclasses.MISSING
    needed = [n for n, f in fields.items() if f.default is nothing and f.default_factory is nothing and n not in value]
    if needed:
        raise BadPlan(f"{where}.{needed[0]}: missing")
    return kind(**{name: _read(_hints(kind)[name], value[name], f"{where}.{name}") for name in fields if name in value})


def _either(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The one scalar kind of a union that fits exactly (a bool is no int, an int is no float)."""
    for kind in kinds:
        if type(value) is kind:
            return value
    raise _wrong(where, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), value)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        _expect(type(value) in (int, float), where, "a number", value)
        return value
    _expect(type(value) is kind, where, {"int": "a whole number", "str": "text"}.get(kind.__name__, str(kind)), value)
    return value


def _expect(holds: bool, where: str, wanted: str, value: Any) -> None:
    if not holds:
        raise _wrong(where, wanted, value)


def _wrong(where: str, wanted: str, value: Any) -> BadPlan:
    found = json.dumps(value, default=str)
    return BadPlan(f"{where}: expected {wanted}, found {found if len(found) <= 40 else found[:37] + '...'}")
