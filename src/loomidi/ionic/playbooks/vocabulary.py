"""What the properties of a playbook may hold, as tables: CACAO Security Playbooks v2.0, sections 3 to 10.

Called by `checking`. A table maps a property to its kind (what it may hold) and to whether it has to be there. Written
from the specification; the tables are ours. Open vocabularies (ending in -ov) take any text, as section 1 asks.
"""

import base64
import binascii
import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any], str]  # '' when the value fits, else what is wanted
Table = dict[str, tuple[Kind, bool]]  # property -> (kind, whether it has to be there)

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-5][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
IDENTIFIER = re.compile(rf"[a-z0-9][a-z0-9-]{{0,80}}--{_UUID}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LONGEST_MS = 30 * 86_400_000  # of a delay or timeout


def text(value: Any) -> str:
    """Any text."""
    return "" if isinstance(value, str) else "text"


def some_text(value: Any) -> str:
    """Text with something in it."""
    return "" if isinstance(value, str) and value.strip() else "text that is not empty"


def boolean(value: Any) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else "true or false"


def one_of(*allowed: str) -> Kind:
    """One of few texts."""
    return lambda value: "" if value in allowed and isinstance(value, str) else " or ".join(map(repr, allowed))


def whole(low: int, high: int) -> Kind:
    """A whole number within bounds."""

    def fits(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"a whole number from {low} to {high}"

    return fits


def identifier(*kinds: str) -> Kind:
    """`kind--UUID`; without kinds, any. Section 10.10."""

    def fits(value: Any) -> str:
        named = " or ".join(kinds) or "<type>"
        good = isinstance(value, str) and IDENTIFIER.fullmatch(value) is not None
        return "" if good and (not kinds or value.rsplit("--", 1)[0] in kinds) else f"an identifier {named}--<UUID>"

    return fits


def moment(value: Any) -> str:
    """An RFC 3339 time in UTC."""
    good = isinstance(value, str) and _TIME.fullmatch(value) is not None and parsed(value) is not None
    return "" if good else "a time such as 2026-11-27T08:00:00.000Z"


def millisecond(value: Any) -> str:
    """The same with exactly three digits after the decimal point: section 3.1."""
    good = isinstance(value, str) and _MILLISECONDS.fullmatch(value) is not None and parsed(value) is not None
    return "" if good else "a time with three digits after the point, such as 2026-11-27T08:00:00.000Z"


def parsed(value: str) -> datetime.datetime | None:
    """The moment, or None for one that is in no calendar."""
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError:
        return None


def several(kind: Kind, least: int = 1) -> Kind:
    """A list of one kind."""

    def fits(value: Any) -> str:
        if not isinstance(value, list) or len(value) < least:
            return f"a list of {least} or more"
        return next((f"in each place {wanted}" for wanted in map(kind, value) if wanted), "")

    return fits


def mapping(value: Any) -> str:
    """An object; what is in it is looked at elsewhere, or is not ours to look at."""
    return "" if isinstance(value, dict) else "an object"


def items(value: Any) -> str:
    """A list of anything."""
    return "" if isinstance(value, list) else "a list"


def octets(value: Any) -> str:
    """Base64, RFC 4648 section 4."""
    try:
        base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return "base64"
    return "" if isinstance(value, str) else "base64"


_PERCENT = whole(0, 100)
PLAYBOOK: Table = {  # section 3.1
    "type": (one_of("playbook"), True),
    "spec_version": (one_of("cacao-2.0"), True),
    "id": (identifier("playbook"), True),
    "name": (some_text, True),
    "description": (text, False),
    "playbook_types": (several(text, 0), False),
    "playbook_activities": (several(text), False),
    "playbook_processing_summary": (mapping, False),
    "created_by": (identifier("identity"), True),
    "created": (millisecond, True),
    "modified": (millisecond, True),
    "revoked": (boolean, False),
    "valid_from": (moment, False),
    "valid_until": (moment, False),
    "derived_from": (several(identifier("playbook")), False),
    "related_to": (several(identifier()), False),
    "priority": (_PERCENT, False),
    "severity": (_PERCENT, False),
    "impact": (_PERCENT, False),
    "industry_sectors": (several(text), False),
    "labels": (several(text), False),
    "external_references": (several(mapping), False),
    "markings": (several(identifier()), False),
    "playbook_variables": (mapping, False),
    "workflow_start": (identifier("start"), True),
    "workflow_exception": (identifier(), False),
    "workflow": (mapping, True),
    "playbook_extensions": (mapping, False),
    "authentication_info_definitions": (mapping, False),
    "agent_definitions": (mapping, False),
    "target_definitions": (mapping, False),
    "extension_definitions": (mapping, False),
    "data_marking_definitions": (mapping, False),
    "signatures": (items, False),
}
STEP: Table = {  # section 4.1
    "type": (text, True),
    "name": (text, False),
    "description": (text, False),
    "external_references": (several(mapping), False),
    "delay": (whole(0, LONGEST_MS), False),
    "timeout": (whole(0, LONGEST_MS), False),
    "step_variables": (mapping, False),
    "owner": (identifier(), False),
    "on_completion": (identifier(), False),
    "on_success": (identifier(), False),
    "on_failure": (identifier(), False),
    "step_extensions": (mapping, False),
}
_ARGUMENTS: Table = {"in_args": (several(text), False), "out_args": (several(text), False)}
STEPS: Mapping[str, tuple[str, Table]] = {  # type -> section, its own properties
    "start": ("4.3", {}),
    "end": ("4.4", {}),
    "action": (
        "4.5",
        {"commands": (several(mapping), True), "agent": (identifier(), True), "targets": (several(identifier()), False)}
        | _ARGUMENTS,
    ),
    "playbook-action": (
        "4.6",
        {"playbook_id": (identifier("playbook"), True), "playbook_version": (moment, False)} | _ARGUMENTS,
    ),
    "parallel": ("4.7", {"next_steps": (several(identifier()), True)}),
    "if-condition": (
        "4.8",
        {"condition": (some_text, True), "on_true": (identifier(), True), "on_false": (identifier(), False)},
    ),
    "while-condition": ("4.9", {"condition": (some_text, True), "on_true": (identifier(), True)}),
    "switch-condition": ("4.10", {"switch": (some_text, True), "cases": (mapping, True)}),
}
VARIABLE: Table = {  # section 10.18
    "type": (some_text, True),
    "description": (text, False),
    "value": (lambda value: "" if value is None else text(value) and "text, or null", False),
    "constant": (boolean, False),
    "external": (boolean, False),
}
COMMAND: Table = {  # section 5.1
    "type": (some_text, True),
    "description": (text, False),
    "command": (text, False),
    "command_b64": (octets, False),
    "version": (text, False),
    "playbook_activity": (text, False),
    "external_references": (several(mapping), False),
}
_HTTP: Table = {"headers": (mapping, False), "content": (text, False), "content_b64": (octets, False)}
COMMANDS: Mapping[str, Table] = {  # what a type adds; a type that is not here (command-type-ov is open) adds anything
    "manual": {},
    "bash": {},
    "caldera-cmd": {},
    "elastic": {},
    "http-api": _HTTP,
    "jupyter": {},
    "kestrel": {},
    "openc2-http": _HTTP,
    "powershell": {},
    "sigma": {},
    "ssh": {},
    "yara": {},
    "x-loomidi-fold": {},
    "x-loomidi-probe": {},
    "x-loomidi-undo": {},
}
FOLD, PROBE, UNDO = "x-loomidi-fold", "x-loomidi-probe", "x-loomidi-undo"
OBJECT: Table = {"type": (some_text, True), "name": (some_text, True)}  # of agents and targets: section 7.1
EXTENSION: Table = {  # section 8
    "type": (one_of("extension-definition"), True),
    "name": (some_text, True),
    "description": (text, False),
    "created_by": (identifier("identity"), True),
    "schema": (some_text, True),
    "version": (some_text, True),
    "external_references": (several(mapping), False),
}
