"""A plan as a Fold, and the way back: the plan that was judged is the one that the object holds, id and all.

Called by whoever proposes a Fold, and by the operator, which judges it again. In: a `Plan`, or a Fold as the API
server gives it. Out: a Fold to be posted, or the `Plan`. What was measured travels as JSON text, times as RFC 3339 with
nine digits, so that the id stays true. Whether the id fits the content is left to the guards.
"""

import dataclasses
import datetime as dt
import functools
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import BlastRadius, Finding, FoldKind, FoldSpec, Mode, Plan, Receipt, Step
from loomidi.fold.resources.definitions import GROUP, VERSION
from loomidi.fold.resources.records import camel
from loomidi.ionic.decide.places import place
from loomidi.ionic.documents import read_plan, read_record
from loomidi.ionic.errors import BadPlan

HOME = "loomidi-system"  # what we run in
FINALIZER = "loomidi.io/undo"  # it cannot vanish before it is undone
_NS = 1_000_000_000
_TIME = re.compile(r"(?P<whole>[\d-]+T[\d:]+)(?:\.(?P<rest>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")
_PARTS = {"finding": Finding, "blast_radius": BlastRadius}


def fold_object(plan: Plan, namespace: str, *, policy: str = "", escalates_from: str = "") -> dict[str, Any]:
    """The Fold of a plan, named by it; `escalates_from`: the one whose place it takes.

    One that may act without a person has its finalizer from the start: nobody has to write it before the effect.
    Raises BadPlan when its time is no whole number of seconds, and for what one node does by itself.
    """
    if plan.fold.action == "tune":
        raise BadPlan("plan.fold.action: thresholds are tuned on their node, by `loomidi tune`, never by a Fold")
    if plan.fold.ttl_s != int(plan.fold.ttl_s):
        raise BadPlan(f"plan.fold.ttl_s: a Fold lasts whole seconds, found {plan.fold.ttl_s:g}")
    parts = {camel(name): _written(getattr(plan, name)) for name in _PARTS}
    own = {"id": plan.id, "createdTime": moment(plan.created_ns), "expiresTime": moment(plan.expires_ns)}
    spec = _written(plan.fold) | {"ttlSeconds": int(plan.fold.ttl_s), "mode": plan.mode.value, **parts, "plan": own}
    beside = {"policy": policy, "escalatesFrom": escalates_from}
    marks = {"finalizers": [FINALIZER]} if plan.mode in (Mode.GUARDED, Mode.AUTONOMOUS) else {}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Fold",
        "metadata": {"name": plan.id, "namespace": namespace, **marks},
        "spec": spec | {name: text for name, text in beside.items() if text},
    }


def namespaces_of(fold: FoldSpec) -> set[str]:
    """The namespaces that it acts in, as the driver reads it; none for what has none.

    What changes a node acts in all of them, so it is ours to ask for: no tenant's namespace closes a node.
    """
    found, metadata = place(fold.target), fold.manifest.get("metadata", {})
    if fold.kind is FoldKind.CORDON:
        return {HOME}
    own = found.kind in ("pod", "workload", "service") and found.name and not found.address
    named = {found.namespace} if own else set()
    if fold.manifest and ("namespace" in metadata or not named or fold.kind is FoldKind.RECONFIGURE_NETWORK):
        named.add(str(metadata.get("namespace", "default")))
    return named


def plan_of(obj: Mapping[str, Any]) -> Plan:
    """The plan that a Fold holds. Raises BadPlan naming what it lacks: one made by hand holds no plan."""
    spec = obj["spec"]
    missing = [name for name in ("finding", "blastRadius", "plan") if name not in spec]
    if missing:
        raise BadPlan(f"spec.{missing[0]}: missing; a Fold that a person made is planned first")
    document = {name: _read(record, spec[camel(name)]) for name, record in _PARTS.items()}
    own = {"id": spec["plan"]["id"], "mode": spec.get("mode")}
    times = {f"{name}_ns": nanoseconds(spec["plan"][f"{name}Time"]) for name in ("created", "expires")}
    return read_plan({**document, **own, **times, "fold": _read(FoldSpec, spec)})


def fold_of(obj: Mapping[str, Any]) -> FoldSpec:
    """What a Fold does, also of one that holds no plan. Raises BadPlan naming what is wrong."""
    document = _read(FoldSpec, obj["spec"])
    return read_record(FoldSpec, document, "spec")


def finding_of(obj: Mapping[str, Any]) -> Finding | None:
    """What it answers; None when it does not say. Raises BadPlan naming what is wrong."""
    given = obj["spec"].get("finding")
    return None if given is None else read_record(Finding, _read(Finding, given), "spec.finding")


def receipts_of(obj: Mapping[str, Any]) -> list[Receipt]:
    """What was done by it, oldest first."""
    plan_id, told = str(obj["spec"].get("plan", {}).get("id", "")), list[Receipt]()
    for one in (obj.get("status") or {}).get("receipts") or ():
        step, at_ns = Step(one["step"]), nanoseconds(one["atTime"])
        given = one.get("inverse", {}), one.get("detail", {})
        told.append(
            Receipt(one["id"], plan_id, step, at_ns, one.get("driver", ""), *given, told[-1].id if told else "")
        )
    return told


def _written(record: Any) -> dict[str, Any]:
    """A record's fields by their names in the resource, without those that are at their default."""
    kind: type = type(record)
    hints, plain = _hints(kind), dict[str, Any]()
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not _is_default(field, value):
            plain[camel(field.name)] = _written_value(field.name, hints[field.name], value)
    return plain


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)


def _written_value(name: str, kind: Any, value: Any) -> Any:
    if name.endswith("_ns"):
        return moment(value)
    if _is_measured(kind):
        return _measured(value)
    if dataclasses.is_dataclass(value):
        return _written(value)
    if isinstance(value, tuple):
        return [_written(item) if dataclasses.is_dataclass(item) else item for item in value]
    return value.value if hasattr(value, "value") else value


def _read(record: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that the resource gives, as the record's own document."""
    if not isinstance(given, Mapping):
        raise BadPlan(f"{record.__name__}: expected an object, found {type(given).__name__}")
    hints = _hints(record)
    names = {field.name: camel(field.name) for field in dataclasses.fields(record)}
    return {name: _read_value(hints[name], given[told]) for name, told in names.items() if told in given}


def _read_value(kind: Any, value: Any) -> Any:
    if kind is int and isinstance(value, str):
        return nanoseconds(value)
    if kind is float:
        return float(value)
    if _is_measured(kind):
        return _unmeasured(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read(kind, value)
    if typing.get_origin(kind) is tuple and dataclasses.is_dataclass(item := typing.get_args(kind)[0]):
        return [_read(typing.cast(type, item), each) for each in value]
    return value


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _is_measured(kind: Any) -> bool:
    return typing.get_origin(kind) is types.UnionType and float in typing.get_args(kind)


def _measured(value: Any) -> str:
    """Text as it is, unless it would be read as something else; all others as JSON."""
    return value if isinstance(value, str) and _unmeasured(value) == value else json.dumps(value)


def _unmeasured(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def moment(ns: int) -> str:
    """A time as the API has it, to the nanosecond."""
    seconds, rest = divmod(ns, _NS)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def nanoseconds(text: str) -> int:
    """Raises BadPlan for what is no time."""
    found = _TIME.fullmatch(text)
    try:
        seconds = dt.datetime.fromisoformat(f"{found['whole']}{found['zone']}").timestamp() if found else None
    except ValueError:
        seconds = None
    if found is None or seconds is None:
        raise BadPlan(f"{text!r} is no time such as 2026-01-01T00:00:00Z")
    return int(seconds) * _NS + int((found["rest"] or "").ljust(9, "0"))
