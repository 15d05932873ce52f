"""The words that schemas are written in: structural OpenAPI v3 as Kubernetes takes it, each with a description.

Called by `folds`, `policies` and `records`. In: a description and bounds. Out: plain dicts. Every text has a longest
length and every list a largest size, so that the API server can bound the cost of the rules that look at them.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]
Fields = dict[str, Schema]
SHORT, LONG = 253, 4096  # characters: a Kubernetes name; a paragraph
_PERCENT = "^(100|[1-9]?[0-9])%$"


def text(description: str, *, most: int = SHORT, **more: Any) -> Schema:
    """A string of at most `most` characters."""
    return {"description": description, "type": "string", "maxLength": most, **more}


def whole(description: str, *, least: int = 0, most: int | None = None, **more: Any) -> Schema:
    """A whole number of 64 bits."""
    bounds = {"minimum": least} | ({} if most is None else {"maximum": most})
    return {"description": description, "type": "integer", "format": "int64", **bounds, **more}


def fraction(description: str, **more: Any) -> Schema:
    """A number from 0 to 1."""
    return {"description": description, "type": "number", "minimum": 0, "maximum": 1, **more}


def flag(description: str, **more: Any) -> Schema:
    """True or false."""
    return {"description": description, "type": "boolean", **more}


def moment(description: str) -> Schema:
    """A time as RFC 3339 has it, up to nanoseconds."""
    return {"description": description, "type": "string", "format": "date-time"}


def choice(description: str, of: type[enum.StrEnum], **more: Any) -> Schema:
    """One of an enumeration's values, in its order."""
    return {"description": description, "type": "string", "enum": [member.value for member in of], **more}


def listing(description: str, items: Schema, *, most: int, **more: Any) -> Schema:
    """A list that is replaced as a whole."""
    kind = {"type": "array", "maxItems": most, "x-kubernetes-list-type": "atomic"}
    return {"description": description, **kind, "items": items, **more}


def texts(description: str, each: str, *, most: int = 64, **more: Any) -> Schema:
    """A list of distinct names."""
    return listing(description, text(each, minLength=1), most=most, **{"x-kubernetes-list-type": "set"} | more)


def keyed(description: str, items: Schema, *keys: str, most: int, **more: Any) -> Schema:
    """A list whose items are merged by their keys."""
    merging = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return listing(description, items, most=most, **merging, **more)


def thing(description: str, fields: Fields, *, required: Iterable[str] = (), **more: Any) -> Schema:
    """An object with these fields."""
    needed = {"required": sorted(required)} if required else {}
    return {"description": description, "type": "object", **needed, **more, "properties": fields}


def opaque(description: str, **more: Any) -> Schema:
    """An object whose content is another's business; it is kept as it is."""
    return {"description": description, "type": "object", "x-kubernetes-preserve-unknown-fields": True, **more}


def share(description: str, **more: Any) -> Schema:
    """A whole number, or a percentage such as `25%`."""
    fits = rule(
        f"type(self) == int ? self >= 0 : self.matches('{_PERCENT}')",
        "give a whole number of 0 or more, or a percentage from 0% to 100% such as 25%",
    )
    kind = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "maxLength": 16}
    return {"description": description, **kind, **more, "x-kubernetes-validations": [fits]}


def rule(expression: str, message: str, *, told: str = "", at: str = "") -> dict[str, str]:
    """A CEL rule. `told` makes the message from the values, `message` stands where that fails; `at` is the field."""
    extra = {"messageExpression": told, "fieldPath": at}
    return {"rule": expression, "message": message} | {key: value for key, value in extra.items() if value}


def defaulted(schema: Schema) -> Schema:
    """The same with a default of its own, made of its fields' defaults: who leaves it out gets them all."""
    fields: Fields = schema["properties"]
    return schema | {"default": {name: field["default"] for name, field in fields.items() if "default" in field}}


def checked(schema: Schema, *rules: dict[str, str]) -> Schema:
    """The same with rules, beside those that it has."""
    return schema | {"x-kubernetes-validations": [*schema.get("x-kubernetes-validations", ()), *rules]}


def joined(table: Mapping[Any, Iterable[str]], word: str) -> str:
    """A CEL map from each key to its values as one text, for messages."""
    return literal({key: word.join(values) for key, values in table.items()})


def literal(value: Any) -> str:
    """A value in CEL: text, numbers, lists and maps."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, Iterable):
        return "[" + ", ".join(map(literal, value)) + "]"
    return str(value)


def selector(description: str) -> Schema:
    """A label selector as Kubernetes has it; an empty one selects everything."""
    labels = {
        "description": "Labels that must all be there, with these values.",
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": text("The label's value.", most=63),
    }
    values = texts("Values for In and NotIn; none for Exists and DoesNotExist.", "One value.", most=32)
    expression = {
        "key": text("The label that is looked at.", minLength=1, most=317),
        "operator": {
            "description": "How the label stands to the values.",
            "type": "string",
            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
        },
        "values": values,
    }
    fitting = rule(
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
        "In and NotIn take values, Exists and DoesNotExist take none: add or remove values",
    )
    one = checked(thing("One requirement.", expression, required=("key", "operator")), fitting)
    fields = {"matchLabels": labels, "matchExpressions": listing("Requirements that must all hold.", one, most=32)}
    return thing(description, fields, **{"x-kubernetes-map-type": "atomic"})
