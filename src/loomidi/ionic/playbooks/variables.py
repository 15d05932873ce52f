"""Variables of a playbook: their types, where they can be seen, and how a text refers to them.

Called by `checking` (values against their types) and by `walking` (scopes of a run). In: dictionaries as CACAO v2.0
section 10.18 has them. Out: values as text, which is how a playbook holds every value, and None for one that is not
known. What a value is used for is left to the commands.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loomidi.ionic.errors import BadPlaybook

NAME = re.compile(r"__[a-zA-Z0-9][a-zA-Z0-9_-]{0,195}?__")
REFERENCE = re.compile(rf"({NAME.pattern}):value")
MOST_TEXT = 65_536  # characters of one value: a playbook is no place for captures
_NUMBERS = frozenset({"integer", "long", "float"})


def _address(version: int) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            return ipaddress.ip_network(text, strict=False).version == version
        except ValueError:
            return False

    return fits


def _object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _shape(pattern: str) -> Callable[[str], bool]:
    whole = re.compile(pattern)
    return lambda text: whole.fullmatch(text) is not None


TYPES: Mapping[str, Callable[[str], bool]] = {  # variable-type-ov; a type that is not here is read as a string
    "bool": _shape(r"true|false"),
    "dictionary": _object,
    "float": _shape(r"[-+]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][-+]?\d{1,3})?"),
    "hash": _shape(r"[0-9a-fA-F]{16,128}"),
    "hexstring": _shape(r"([0-9a-fA-F]{2})+"),
    "integer": _shape(r"[-+]?\d{1,300}"),
    "ipv4-addr": _address(4),
    "ipv6-addr": _address(6),
    "long": _shape(r"[-+]?\d{1,300}"),
    "mac-addr": _shape(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}"),
    "md5-hash": _shape(r"[0-9a-fA-F]{32}"),
    "sha256-hash": _shape(r"[0-9a-fA-F]{64}"),
    "string": lambda _text: True,
    "uri": _shape(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S*"),
    "uuid": _shape(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}


def fits(kind: str, value: str) -> bool:
    """Whether a value can be of this type; an unknown type takes every text of bounded length."""
    return len(value) <= MOST_TEXT and TYPES.get(kind, TYPES["string"])(value)


def names_in(value: Any) -> set[str]:
    """Every variable that the texts inside a JSON value refer to."""
    return {name for text in _texts(value) for name in REFERENCE.findall(text)}


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            waiting += each


class Scope:
    """The variables that can be seen at one place of a run: its own, then those of what it lies in."""

    def __init__(self, declared: Mapping[str, Any], within: "Scope | None" = None) -> None:
        self._kinds = {name: str(one.get("type", "string")) for name, one in declared.items()}
        self._values: dict[str, str | None] = {name: one.get("value") for name, one in declared.items()}
        self._fixed = {name for name, one in declared.items() if one.get("constant") is True}
        self._within = within

    def holder(self, name: str) -> "Scope":
        """The scope that declares the name. Raises BadPlaybook when none does."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope._kinds:
                return scope
            scope = scope._within
        raise BadPlaybook.of("", f"{name} is not declared where it is used; declare it in playbook_variables", "10.18")

    def kind(self, name: str) -> str:
        """The declared type."""
        return self.holder(name)._kinds[name]

    def value(self, name: str) -> str | None:
        """The value as text; None while it is not known."""
        return self.holder(name)._values[name]

    def put(self, name: str, value: str | None) -> None:
        """A new value. Raises BadPlaybook for a constant, and for a value that its type cannot be."""
        scope = self.holder(name)
        if name in scope._fixed:
            raise BadPlaybook.of("", f"{name} is a constant and cannot be given a value", "10.18")
        if value is not None and not fits(scope._kinds[name], value):
            raise BadPlaybook.of("", f"{name} is of type {scope._kinds[name]}; {value[:40]!r} is none", "10.18")
        scope._values[name] = value

    def filled(self, value: Any) -> Any:
        """A JSON value with every reference replaced. Values are put into texts only, so that none can become syntax.

        A text that is a single reference to a number or a bool becomes that number or bool. Raises BadPlaybook for a
        variable that has no value.
        """
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._plain(str(key)): self.filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        return value

    def _text(self, text: str) -> Any:
        whole = REFERENCE.fullmatch(text)
        if whole is None:
            return self._plain(text)
        known, kind = self._known(whole[1]), self.kind(whole[1])
        if kind in _NUMBERS:
            return float(known) if kind == "float" else int(known)
        return known == "true" if kind == "bool" else known

    def _plain(self, text: str) -> str:
        return REFERENCE.sub(lambda found: self._known(found[1]), text)

    def _known(self, name: str) -> str:
        value = self.value(name)
        if value is None:
            raise BadPlaybook.of("", f"{name} has no value here; give it one (--set {name.strip('_')}=...)", "10.18")
        return value
