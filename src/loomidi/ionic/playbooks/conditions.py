"""Conditions: the part of the STIX patterning grammar that playbooks use, read once and evaluated without any code.

Called by `checking` (does it parse) and `walking` (does it hold). In: text such as `__severity__:value = 'high'`, a
scope of variables. Out: true or false, or BadPlaybook. CACAO v2.0 sections 4.8 and 4.9; of STIX 2.1 section 9
comparison expressions with = != < <= > >= IN LIKE ISSUBSET ISSUPERSET, NOT, AND, OR and parentheses over
`__name__:value` and literals. MATCHES is refused (a regular expression of a stranger can take forever), and so are
observations in time.
"""

import dataclasses
import fnmatch
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from loomidi.ionic.errors import BadPlaybook
from loomidi.ionic.playbooks.variables import REFERENCE, Scope

MOST_TEXT, MOST_DEPTH = 4096, 32
_TOKEN = re.compile(
    rf"\s*(?:(?P<name>{REFERENCE.pattern})|(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<number>[-+]?\d{1,300}(?:\.\d{1,300})?)|(?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,|\[|\])|(?P<word>[A-Za-z]+))"
)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}
_SAME = {"==": "=", "<>": "!="}
Value = str | int | float | bool
Test = Callable[[Scope], bool]
Operand = Callable[[Scope], tuple[Value, str]]  # the value and the type that it is declared as


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """One that can be evaluated."""

    text: str
    names: frozenset[str]  # variables that it asks for
    test: Test

    def holds(self, scope: Scope) -> bool:
        """Raises BadPlaybook where a variable has no value or two values cannot be compared: never a guess."""
        return self.test(scope)


def read_condition(text: str) -> Condition:
    """Raises BadPlaybook saying at which character it stops being a condition."""
    if len(text) > MOST_TEXT:
        raise _bad(f"the condition has {len(text)} characters, at most {MOST_TEXT} are read")
    return Condition(text, frozenset(match[1] for match in REFERENCE.finditer(text)), _Reading(text).whole())


def _bad(why: str) -> BadPlaybook:
    return BadPlaybook.of("", why, "4.8")


class _Reading:
    """Recursive descent over the tokens, no deeper than MOST_DEPTH."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def whole(self) -> Test:
        """The condition, in square brackets or bare, and nothing after it."""
        bracketed = self._took("[")
        test = self._either(0)
        if bracketed and not self._took("]"):
            raise _bad("a square bracket is not closed")
        if self._at < len(self._tokens):
            raise _bad(f"{self._peek()!r} is not expected there; comparisons are joined with AND and OR")
        return test

    def _either(self, depth: int) -> Test:
        if depth > MOST_DEPTH:
            raise _bad(f"parentheses are nested deeper than {MOST_DEPTH}")
        tests = [self._both(depth)]
        while self._took("OR"):
            tests.append(self._both(depth))
        return lambda scope: True in [test(scope) for test in tests]  # every part is asked: an undefined one is told

    def _both(self, depth: int) -> Test:
        tests = [self._one(depth)]
        while self._took("AND"):
            tests.append(self._one(depth))
        return lambda scope: False not in [test(scope) for test in tests]

    def _one(self, depth: int) -> Test:
        if self._took("("):
            inner = self._either(depth + 1)
            if not self._took(")"):
                raise _bad("a parenthesis is not closed")
            return inner
        negated = self._took("NOT")
        test = self._comparison()
        return (lambda scope: not test(scope)) if negated else test

    def _comparison(self) -> Test:
        left = self._operand()
        negated = self._took("NOT")
        word = self._next()
        if word == "IN":
            test = _among(left, self._list())
        elif (order := _SAME.get(word, word)) in _ORDERS:
            test = _ordered(left, _ORDERS[order], self._operand())
        elif word in _WORDS:
            test = _WORDS[word](left, self._operand())
        elif word == "MATCHES":
            raise _bad("MATCHES is not taken: a regular expression can take forever; use LIKE, with % and _")
        else:
            raise _bad(f"{word!r} compares nothing; use = != < <= > >= IN LIKE ISSUBSET ISSUPERSET")
        return (lambda scope: not test(scope)) if negated else test

    def _list(self) -> list[Operand]:
        if not self._took("("):
            raise _bad("IN takes a list in parentheses")
        items = [self._operand()]
        while self._took(","):
            items.append(self._operand())
        if not self._took(")"):
            raise _bad("the list after IN is not closed")
        return items

    def _operand(self) -> Operand:
        word = self._next()
        if found := REFERENCE.fullmatch(word):
            return lambda scope: _known(scope, found[1])
        if word.startswith("'"):
            text = re.sub(r"\\(.)", r"\1", word[1:-1])
            return lambda _scope: (text, "string")
        if word in ("true", "false"):
            return lambda _scope: (word == "true", "bool")
        if word.lstrip("+-")[:1].isdigit():
            number = float(word) if "." in word else int(word)
            return lambda _scope: (number, "float")
        raise _bad(f"{word!r} is neither __name__:value nor a literal; write text in single quotes")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise _bad("the condition ends where a value or a comparison is expected")
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._at += 1
        return True


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _bad(f"character {at + 1} of the condition cannot be read: {text[at : at + 20]!r}")
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def _known(scope: Scope, name: str) -> tuple[Value, str]:
    value, kind = scope.value(name), scope.kind(name)
    if value is None:
        raise _bad(f"{name} has no value, so the condition is neither true nor false")
    return value, kind


def _ordered(left: Operand, order: Callable[[Any, Any], bool], right: Operand) -> Test:
    return lambda scope: order(*_alike(left(scope), right(scope)))


def _among(left: Operand, items: list[Operand]) -> Test:
    return lambda scope: True in [one == other for one, other in (_alike(left(scope), item(scope)) for item in items)]


def _alike(one: tuple[Value, str], other: tuple[Value, str]) -> tuple[Any, Any]:
    """Both as numbers where one of them is a number, as bools where one is a bool, else as text."""
    kinds = {one[1], other[1]}
    if kinds & {"integer", "long", "float"}:
        return _number(one[0]), _number(other[0])
    if "bool" in kinds:
        return _text(one[0]), _text(other[0])
    return str(one[0]), str(other[0])


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Value) -> int | float:
    try:
        number = value if isinstance(value, int | float) else int(value)
    except ValueError:
        number = _fraction(value)
    if isinstance(value, bool) or number != number:
        raise _bad(f"{value!r} is no number, and is compared with one")
    return number


def _fraction(value: Value) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise _bad(f"{str(value)[:40]!r} is no number, and is compared with one") from error


def _like(left: Operand, right: Operand) -> Test:
    def test(scope: Scope) -> bool:
        pattern = str(right(scope)[0]).replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        return fnmatch.fnmatchcase(str(left(scope)[0]), pattern.replace("%", "*").replace("_", "?"))

    return test


def _subset(left: Operand, right: Operand) -> Test:
    def test(scope: Scope) -> bool:
        one, other = _network(left(scope)[0]), _network(right(scope)[0])
        return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]

    return test


def _network(value: Value) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(value), strict=False)
    except ValueError as error:
        raise _bad(f"{str(value)[:40]!r} is no address or CIDR, and is compared with one") from error


_WORDS: dict[str, Callable[[Operand, Operand], Test]] = {
    "LIKE": _like,
    "ISSUBSET": _subset,
    "ISSUPERSET": lambda left, right: _subset(right, left),
}
