"""What every OCSF event of ours has: class, activity, time, severity, who says so; and its octets.

Called by `findings`, `remediations` and `stix`. In: records' plain values. Out: dicts and JSON. Text of records is
data: it is escaped by JSON and read by nobody here. Source: OCSF schema 1.8.0, `base_event` and `metadata`.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts import Severity, content_id
from loomidi.ionic.decide.places import Place, place

OCSF_VERSION = "1.8.0"
UNKNOWN, OTHER = 0, 99  # of every enumeration of OCSF
SEVERITIES = {Severity.INFO: 1, Severity.LOW: 2, Severity.MEDIUM: 3, Severity.HIGH: 4, Severity.CRITICAL: 5}
_IP_ADDRESS, _RESOURCE, _SUBNET = 2, 10, 12  # type_id of an observable
_ROOM = "loomidi"  # ours within `unmapped`


def _unnamed(_technique: str) -> str:
    return ""


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """Who tells, for the metadata of each event."""

    version: str  # of loomidi
    node: str = ""  # on which the record was made; empty: not told
    technique: Callable[[str], str] = _unnamed  # ATT&CK id -> its name, empty where nobody knows it


@dataclasses.dataclass(frozen=True, slots=True)
class Class:
    """A class of OCSF."""

    uid: int
    name: str
    category_uid: int
    category: str


def base(kind: Class, about: About, activity: tuple[int, str], at_ns: int, severity: int) -> dict[str, Any]:
    """The fields that each event must have; `activity` is its id and caption, `at_ns` since the epoch."""
    return {
        "activity_id": activity[0],
        "activity_name": activity[1],
        "category_name": kind.category,
        "category_uid": kind.category_uid,
        "class_name": kind.name,
        "class_uid": kind.uid,
        "metadata": _metadata(about),
        "severity_id": severity,
        "time": millis(at_ns),
        "type_uid": kind.uid * 100 + activity[0],
        "type_name": f"{kind.name}: {activity[1]}",
    }


def _metadata(about: About) -> dict[str, Any]:
    product = {"name": "Loomidi", "vendor_name": "Loomidi", "version": about.version}
    told: dict[str, Any] = {"product": product, "profiles": [], "version": OCSF_VERSION}
    return told | ({"reporter": {"name": about.node}} if about.node else {})


def named(event: dict[str, Any], about: str, *parts: Any) -> dict[str, Any]:
    """With its own id, which the same parts always give, and the id of what it is about."""
    event["metadata"] |= {"uid": content_id("event", [event["class_uid"], *parts]), "correlation_uid": about}
    told: dict[str, Any] = cleaned(event)
    return told


def unmapped(**values: Any) -> dict[str, Any]:
    """What OCSF has no field for, under our name."""
    return {"unmapped": {_ROOM: values}}


def millis(at_ns: int) -> int:
    """OCSF's timestamp_t: ms since the epoch."""
    return at_ns // 1_000_000


def observables(entities: tuple[str, ...]) -> list[dict[str, Any]]:
    """Entities as pivots: addresses and networks as such, what has a name by its id."""
    return [
        {"name": f"unmapped.{_ROOM}.entities[{at}]", **_observable(place(entity), entity)}
        for at, entity in enumerate(entities)
    ]


def _observable(there: Place, entity: str) -> dict[str, Any]:
    if not there.address:
        return {"type_id": _RESOURCE, "type": "Resource UID", "value": entity}
    if "/" in there.address:
        return {"type_id": _SUBNET, "type": "Subnet", "value": there.address}
    return {"type_id": _IP_ADDRESS, "type": "IP Address", "value": there.address}


def cleaned(value: Any) -> Any:
    """What every reader of JSON takes: no lone surrogates, no NaN and no infinities, which become their names."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {cleaned(str(name)): cleaned(one) for name, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, (list, tuple)) else value


def encoded(event: Mapping[str, Any]) -> bytes:
    """One line of ASCII JSON: what is in a text can neither end the line nor move a terminal's cursor."""
    return json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
