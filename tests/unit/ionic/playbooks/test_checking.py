"""What is wrong with a playbook is told with its place, its section and what to do; nothing else ever comes out."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomidi.ionic.errors import BadPlaybook
from loomidi.ionic.playbooks import library, read_playbook, written
from loomidi.ionic.playbooks.checking import problems_of
from loomidi.ionic.playbooks.conditions import read_condition
from loomidi.ionic.playbooks.variables import Scope
from tests.unit.ionic.making import a_finding
from tests.unit.ionic.playbooks.playing import END, MANUAL, START, a_table, action, document, fold, key

A, B = key("action", "a"), key("action", "b")
Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> list[str]:
    plain = document(A, {A: action(MANUAL), key("end", "2"): {"type": "end"}})
    change(plain)
    return [str(problem) for problem in problems_of(plain)]


WRONG: list[tuple[str, Change, str]] = [
    (
        "a version",
        lambda d: d.update(spec_version="1.1"),
        "/spec_version: expected 'cacao-2.0', found \"1.1\" (CACAO 2.0, 3.1)",
    ),
    ("no name", lambda d: d.pop("name"), "name is missing: text that is not empty (CACAO 2.0, 3.1)"),
    ("an id", lambda d: d.update(id="playbook--1"), "/id: expected an identifier playbook--<UUID>"),
    ("a time", lambda d: d.update(created="2026-11-27T00:00:00Z"), "/created: expected a time with three digits"),
    ("a day that is none", lambda d: d.update(created="2026-02-30T00:00:00.000Z"), "/created: expected a time"),
    (
        "modified first",
        lambda d: d.update(modified="2025-01-01T00:00:00.000Z"),
        "/modified: modified lies before created",
    ),
    ("a property", lambda d: d.update({"a/b": 1}), "/a~1b: no such property"),
    (
        "a step type",
        lambda d: d["workflow"][A].update(type="single"),
        f'/workflow/{A}: type is "single"; a step is one of',
    ),
    (
        "a step key",
        lambda d: d["workflow"].update(x={"type": "end"}),
        "/workflow/x: the key of a step is an identifier end",
    ),
    ("no command", lambda d: d["workflow"][A].update(commands=[]), "/commands: expected a list of 1 or more"),
    ("no agent", lambda d: d["workflow"][A].pop("agent"), "agent is missing: an identifier"),
    ("a strange agent", lambda d: d.update(agent_definitions={}), f"/workflow/{A}/agent: security-category--"),
    ("both ways", lambda d: d["workflow"][A].update(on_success=END), "on_completion stands alone"),
    ("no way", lambda d: d["workflow"][A].pop("on_completion"), "no way on: name a step in on_completion"),
    (
        "nowhere",
        lambda d: d["workflow"][A].update(on_completion=B),
        f"/workflow/{A}/on_completion: there is no step {B}",
    ),
    ("the start", lambda d: d["workflow"][A].update(on_completion=START), "the start step is where a run begins"),
    (
        "a circle",
        lambda d: d["workflow"][A].update(on_completion=A),
        "go round in a circle; loop with a while-condition",
    ),
    ("an end that goes on", lambda d: d["workflow"][END].update(on_completion=A), "an end step leads nowhere"),
    ("a command without text", lambda d: d["workflow"][A].update(commands=[{"type": "manual"}]), "has `command` or"),
    (
        "a fold that is no JSON",
        lambda d: d["workflow"][A].update(commands=[{"type": "x-loomidi-fold", "command": "x"}]),
        "takes a JSON object as text",
    ),
    (
        "an unknown variable",
        lambda d: d["workflow"][A].update(commands=[fold(propose="__x__:value")]),
        "__x__ is used and nowhere declared",
    ),
    (
        "a variable's name",
        lambda d: d.update(playbook_variables={"x": {"type": "string"}}),
        "/playbook_variables/x: a variable is named",
    ),
    (
        "a value",
        lambda d: d.update(playbook_variables={"__x__": {"type": "integer", "value": "y"}}),
        '"y" is no integer',
    ),
    ("a delay", lambda d: d["workflow"][A].update(delay=-1), "/delay: expected a whole number from 0"),
    ("a number that is a bool", lambda d: d.update(priority=True), "/priority: expected a whole number from 0 to 100"),
    (
        "an extension",
        lambda d: d.update(playbook_extensions={"e": {}}),
        "/playbook_extensions/e: e is not in extension_definitions",
    ),
    (
        "no action",
        lambda d: d["workflow"].pop(A) and d["workflow"][START].update(on_completion=END),
        "has a start step, an action",
    ),
]


@pytest.mark.parametrize(("change", "told"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_each_problem_names_its_place_and_what_to_do(change: Change, told: str) -> None:
    assert any(told in problem for problem in changed(change)), changed(change)


def test_all_problems_are_told_at_once() -> None:
    assert len(changed(lambda d: d.update(spec_version="1", id="x", name=" ", created="now"))) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ("[]", "a playbook is a JSON object"),
        ('{"type": 1, "type": 2}', "'type' is there twice"),
        ('{"priority": NaN}', "NaN is no JSON number"),
        ('{"name": "\\ud800"}', "no JSON"),
        ("[" * 200_000, "nested too deep"),
        (" " * (1 << 20) + "{}", "at most 1048576 are read"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_text_that_is_no_playbook_is_told_so(text: str | bytes, told: str) -> None:
    with pytest.raises(BadPlaybook, match=told):
        read_playbook(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LIBRARY = [dict(book.document) for book in library().values()]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.text(max_size=200) | st.binary(max_size=200) | JSON.map(json.dumps))
def test_no_text_ever_causes_anything_but_a_playbook_or_its_problems(text: str | bytes) -> None:
    with pytest.raises(BadPlaybook):
        read_playbook(text)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A playbook of the library in which one value, somewhere, is another one."""
    plain: Any = json.loads(json.dumps(draw(st.sampled_from(LIBRARY))))
    here = plain
    for _ in range(draw(st.integers(0, 5))):
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        at = draw(st.sampled_from(keys)) if keys else None
        if at is None or not isinstance(here[at], dict | list):
            break
        here = here[at]
    keys = list(here) if isinstance(here, dict) else list(range(len(here)))
    if keys:
        here[draw(st.sampled_from(keys))] = draw(JSON | st.sampled_from([START, END, A, "__x__:value"]))
    return plain  # type: ignore[no-any-return]


@QUICK
@given(damaged())
def test_a_damaged_playbook_is_refused_or_runs_dry_to_a_report_and_back_to_the_same_text(plain: dict[str, Any]) -> None:
    text = json.dumps(plain)
    try:
        book = read_playbook(text)
    except BadPlaybook:
        return
    assert json.loads(written(read_playbook(written(book)))) == plain
    try:
        report = a_table().runner.start(book, a_finding())
    except BadPlaybook:
        return  # a value of the finding that its type cannot be
    assert report.state in ("completed", "failed")


SCOPE = Scope(
    {
        "__s__": {"type": "string", "value": "high"},
        "__n__": {"type": "integer", "value": "5"},
        "__b__": {"type": "bool", "value": "true"},
        "__a__": {"type": "ipv4-addr", "value": "10.1.2.3"},
        "__u__": {"type": "string"},
    }
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("__s__:value = 'high'", True),
        ("[__s__:value != 'high']", False),
        ("__n__:value > 4 AND __n__:value <= 5.0", True),
        ("__n__:value < 10", True),  # as numbers: as text, 5 is after 10
        ("__s__:value IN ('low', 'high') AND NOT __n__:value = 6", True),
        ("__s__:value NOT IN ('low')", True),
        ("(__n__:value = 1 OR __b__:value = true) AND __s__:value LIKE 'h_g%'", True),
        ("__a__:value ISSUBSET '10.0.0.0/8' AND '10.0.0.0/8' ISSUPERSET __a__:value", True),
        ("__s__:value = 'it\\'s'", False),
    ],
)
def test_conditions_hold_as_they_are_written(text: str, holds: bool) -> None:
    assert read_condition(text).holds(SCOPE) is holds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ends where"),
        ("__s__:value", "ends where"),
        ("__s__:value = high", "neither __name__:value nor a literal"),
        ("__s__:value MATCHES '(a+)+$'", "can take forever"),
        ("__s__:value = 'a' FOLLOWEDBY __s__:value = 'b'", "is not expected there"),
        ("(__s__:value = 'a'", "not closed"),
        ("(" * 40 + "__s__:value = 'a'" + ")" * 40, "nested deeper than 32"),
        ("__s__:value = 'a' ; rm", "cannot be read"),
        ("__u__:value = 'a'", "neither true nor false"),
        ("__s__:value > 5", "is no number"),
        ("__s__:value ISSUBSET '10.0.0.0/8'", "is no address or CIDR"),
        ("__s__:value = 'high' OR __u__:value = 'a'", "neither true nor false"),
    ],
)
def test_a_condition_that_cannot_be_told_is_never_guessed(text: str, told: str) -> None:
    with pytest.raises(BadPlaybook, match=told):
        read_condition(text).holds(SCOPE)


@QUICK
@given(st.text(alphabet="_sn:value =<>!'()[],ANDORINLKEMT0123456789.%\\", max_size=60))
def test_no_condition_ever_causes_anything_but_an_answer_or_its_problem(text: str) -> None:
    with contextlib.suppress(BadPlaybook):
        assert read_condition(text).holds(SCOPE) in (True, False)
