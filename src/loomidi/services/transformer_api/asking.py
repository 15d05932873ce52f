"""What a body asks for: JSON to fields, with every reason why it cannot be used.

Called by `handling`. In: a body, a query. Out: a record; or a `Problem`. Leaves the graph to `snapshots`.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Severity
from loomidi.origami.features.snapshots import VECTOR
from loomidi.services.http.problems import Problem
from loomidi.services.http.routing import Call
from loomidi.services.transformer_api.fields import IDENTITY, KEY, Field, Reasons
from loomidi.services.transformer_api.snapshots import Snapshot, snapshot

MOST_PAGE, PAGE = 200, 50
NAMED = "must be 1 to 200 ASCII letters, digits, and . _ : - after the first"
SEVERITIES = tuple(word for severity in Severity for word in (severity.value, severity.value.upper()))
_NUMBER = Field("number")
_CURSOR = re.compile(rf"([0-9]{{1,19}})\.({IDENTITY.pattern})")
_REASON = re.compile(r"[ -~]{0,1000}")
_LAST_NS = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Analysis:
    """Of POST /analyze/anomaly."""

    snapshot: Snapshot | None
    vector: tuple[float, ...]
    digest: str  # of all of it


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """Of POST /action/propose-fold."""

    anomaly_id: str
    severity: Severity | None  # None: that of the finding
    snapshot: Snapshot | None  # a newer graph than that of the anomaly
    context: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Begin:
    """Of POST /action/initiate."""

    plan_id: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: int
    before: tuple[int, str] | None  # time and id of the last one of the page before


def analysis(body: bytes) -> Analysis:
    """A graph, a vector, or both."""
    document, reasons = _object(body), Reasons()
    _known(document, ("graph_snapshot", "metrics_vector"), reasons)
    if not {"graph_snapshot", "metrics_vector"} & set(document):
        reasons.add("there is neither a graph_snapshot nor a metrics_vector: send at least one of them")
    found = snapshot(document["graph_snapshot"], reasons) if "graph_snapshot" in document else None
    numbers = _vector(document["metrics_vector"], reasons) if "metrics_vector" in document else ()
    if reasons:
        raise unusable(reasons)
    return Analysis(found, numbers, hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest())


def wish(body: bytes) -> Wish:
    """An anomaly, how bad the caller holds it to be, what else he knows."""
    document, reasons = _object(body), Reasons()
    _known(document, ("anomaly_id", "severity", "context"), reasons)
    identity, given, context = document.get("anomaly_id"), document.get("severity"), document.get("context", {})
    if not isinstance(identity, str) or not IDENTITY.fullmatch(identity):
        reasons.add(f"anomaly_id {NAMED}, the id of an anomaly or finding")
    if "severity" in document and given not in SEVERITIES:
        reasons.add(f"severity must be one of {', '.join(Severity)}")
    if not isinstance(context, dict):
        reasons.add("context must be an object")
    drawn = isinstance(context, dict) and "graph_snapshot" in context
    found = snapshot(context["graph_snapshot"], reasons) if drawn else None
    if reasons:
        raise unusable(reasons)
    severity = Severity(str(given).lower()) if given is not None else None
    beside = {name: value for name, value in context.items() if name != "graph_snapshot"}
    return Wish(str(identity), severity, found, beside)


def begin(body: bytes) -> Begin:
    """A plan, and why now."""
    document, reasons = _object(body), Reasons()
    _known(document, ("plan_id", "reason"), reasons)
    identity, reason = document.get("plan_id"), document.get("reason", "")
    if not isinstance(identity, str) or not IDENTITY.fullmatch(identity):
        reasons.add(f"plan_id {NAMED}, the id of a plan that was proposed here")
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reasons.add("reason must be at most 1,000 printable ASCII letters")
    if reasons:
        raise unusable(reasons)
    return Begin(str(identity), str(reason))


def page(given: Mapping[str, str]) -> Page:
    """`limit` and `cursor` of a query. Raises Problem."""
    text, cursor = given.get("limit", str(PAGE)), given.get("cursor", "")
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_PAGE:
        raise Problem("malformed", f"limit must be a whole number from 1 to {MOST_PAGE}")
    found = _CURSOR.fullmatch(cursor)
    if "cursor" in given and found is None:
        raise Problem("malformed", "cursor is none: take it from `next` of the page before")
    return Page(int(text), (min(int(found[1]), _LAST_NS), found[2]) if found else None)


def choice(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    """A parameter that is one of a few words; empty when it is not there. Raises Problem."""
    value = given.get(name, "")
    if name in given and value not in known:
        raise Problem("malformed", f"{name} must be one of {', '.join(known)}")
    return value


def identity(given: Mapping[str, str], name: str) -> str:
    """A parameter that names something; empty when it is not there. Raises Problem."""
    if name in given and not IDENTITY.fullmatch(given[name]):
        raise Problem("malformed", f"{name} {NAMED}")
    return given.get(name, "")


def key(call: Call) -> str:
    """The Idempotency-Key; empty when there is none. Raises Problem."""
    given = call.header("idempotency-key")
    if b"idempotency-key" in call.headers and not KEY.fullmatch(given):
        detail = "the Idempotency-Key must be 1 to 255 printable ASCII letters without blanks, such as a UUID"
        raise Problem("malformed", detail)
    return given


def unusable(reasons: Reasons) -> Problem:
    """422 with all of them."""
    told = reasons.told()
    return Problem("unusable", "; ".join(told)[:2000], reasons=told)


def _vector(given: Any, reasons: Reasons) -> tuple[float, ...]:
    if not isinstance(given, list) or len(given) != len(VECTOR):
        reasons.add(f"metrics_vector must be {len(VECTOR)} numbers: {', '.join(VECTOR)}")
        return ()
    for at, value in enumerate(given):
        if value is None or (why := _NUMBER.wrong(value)):
            reasons.add(f"metrics_vector[{at}] ({VECTOR[at]}) {_NUMBER.told if value is None else why}")
    return () if reasons else tuple(float(value) for value in given)


def _known(document: Mapping[str, Any], names: tuple[str, ...], reasons: Reasons) -> None:
    for field in sorted(set(document) - set(names)):
        reasons.add(f"{field[:40]!r} is not known: send {', '.join(names)}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole)
    except UnicodeDecodeError as error:
        raise Problem("malformed", "the body is not UTF-8: send JSON in UTF-8") from error
    except RecursionError as error:
        raise Problem("malformed", "the body is nested too deeply") from error
    except ValueError as error:
        raise Problem("malformed", f"the body is not JSON: {error}"[:300]) from error
    if not isinstance(document, dict):
        raise Problem("malformed", "the body is no JSON object: see /openapi.yaml for its fields")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key twice could be read in two ways."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key comes twice")
    return document


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _whole(text: str) -> int:
    """A number of thousands of digits takes long to read, and no field takes it."""
    if len(text) > 400:
        raise ValueError("a number has more than 400 digits")
    return int(text)
