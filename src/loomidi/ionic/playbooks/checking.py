"""Everything that is wrong with a playbook document, each with its place, its section and what to do.

Called by `reading`. In: a JSON value. Out: `Problem`s, none for a playbook that can be used. Checked are the properties
(`vocabulary`), what is referred to and is not there, the way through the steps (every branch ends, nothing goes round
but by a while-condition), variables and conditions. What a command does is left to `commands`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loomidi.ionic.errors import BadPlaybook, Problem
from loomidi.ionic.playbooks import vocabulary
from loomidi.ionic.playbooks.conditions import read_condition
from loomidi.ionic.playbooks.variables import NAME, REFERENCE, fits, names_in
from loomidi.ionic.playbooks.vocabulary import Table

MOST_STEPS = 512
_NEXT = ("on_completion", "on_success", "on_failure")
_INNER = ("on_true", "on_false")
_JSON_COMMANDS = (vocabulary.FOLD, vocabulary.PROBE, vocabulary.UNDO)


def problems_of(document: Any) -> tuple[Problem, ...]:
    """All of them; those of the properties alone where there are any, for what follows leans on them."""
    if not isinstance(document, dict):
        return (Problem("", "a playbook is a JSON object; this is none", "3.1"),)
    if found := tuple(_shapes(document)):
        return found
    return (*_references(document), *_ways(document), *_variables(document))


# -- properties ----------------------------------------------------------------------


def _shapes(document: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _table(document, vocabulary.PLAYBOOK, "", "3.1")
    for name in ("workflow", "playbook_variables", "agent_definitions", "target_definitions", "extension_definitions"):
        if name in document and not isinstance(document[name], dict):
            return
    steps = document.get("workflow", {})
    if len(steps) > MOST_STEPS:
        yield Problem("/workflow", f"{len(steps)} steps; at most {MOST_STEPS} are taken: split the playbook", "")
        return
    for key, step in steps.items():
        yield from _step(key, step)
    yield from _declared(document.get("playbook_variables", {}), "/playbook_variables")
    for name in ("agent_definitions", "target_definitions"):
        for key, one in document.get(name, {}).items():
            yield from _object(one, _at(f"/{name}", key))
    for key, one in document.get("extension_definitions", {}).items():
        yield from _table(one, vocabulary.EXTENSION, _at("/extension_definitions", key), "8.1")


def _table(value: Any, table: Table, where: str, section: str, *, strict: bool = True) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(where, "expected an object", section)
        return
    for name, (kind, needed) in table.items():
        if name not in value:
            if needed:
                yield Problem(where, f"{name} is missing: {kind(None) or 'any value'}", section)
        elif wanted := kind(value[name]):
            yield Problem(_at(where, name), f"expected {wanted}, found {_shown(value[name])}", section)
    for name in [name for name in value if strict and name not in table]:
        yield Problem(_at(where, name), "no such property; own ones go into an extension (section 8)", section)


def _step(key: str, step: Any) -> Iterator[Problem]:
    where = _at("/workflow", key)
    kind = step.get("type") if isinstance(step, dict) else None
    if not isinstance(kind, str) or kind not in vocabulary.STEPS:
        known = ", ".join(vocabulary.STEPS)
        yield Problem(where, f"type is {_shown(kind)}; a step is one of {known}", "4.2")
        return
    section, own = vocabulary.STEPS[kind]
    if wanted := vocabulary.identifier(kind)(key):
        yield Problem(where, f"the key of a step is {wanted}", "10.10")
    yield from _table(step, {**vocabulary.STEP, **own}, where, section)
    yield from _declared(step.get("step_variables", {}), f"{where}/step_variables")
    if kind == "end" and (onward := [name for name in _NEXT if name in step]):
        yield Problem(_at(where, onward[0]), "an end step leads nowhere; take it away", "4.4")
    if "on_completion" in step and {"on_success", "on_failure"} & set(step):
        yield Problem(where, "on_completion stands alone: use it, or on_success and on_failure", "4.1")
    if kind == "action" and isinstance(step.get("commands"), list):
        for number, command in enumerate(step["commands"]):
            yield from _command(command, f"{where}/commands/{number}")
    if kind == "switch-condition" and isinstance(step.get("cases"), dict):
        for case, target in step["cases"].items():
            if wanted := vocabulary.identifier()(target):
                yield Problem(_at(f"{where}/cases", case), f"expected {wanted}", "4.10")


def _command(command: Any, where: str) -> Iterator[Problem]:
    kind = command.get("type") if isinstance(command, dict) else None
    own = vocabulary.COMMANDS.get(kind) if isinstance(kind, str) else {}
    yield from _table(command, {**vocabulary.COMMAND, **(own or {})}, where, "5.1", strict=own is not None)
    if not isinstance(command, dict):
        return
    if not {"command", "command_b64"} & set(command):
        yield Problem(where, "a command has `command` or `command_b64`", "5.1")
    if kind in _JSON_COMMANDS:
        try:
            good = isinstance(json.loads(command.get("command", "")), dict)
        except (TypeError, ValueError, RecursionError):
            good = False
        if not good:
            yield Problem(f"{where}/command", f"{kind} takes a JSON object as text; see docs/playbooks.md", "")


def _object(one: Any, where: str) -> Iterator[Problem]:
    yield from _table(one, vocabulary.OBJECT, where, "7.1", strict=False)


def _declared(variables: Any, where: str) -> Iterator[Problem]:
    if not isinstance(variables, dict):
        return
    for name, one in variables.items():
        if not NAME.fullmatch(name):
            yield Problem(_at(where, name), "a variable is named __like_this__", "10.18")
        yield from _table(one, vocabulary.VARIABLE, _at(where, name), "10.18")
        value = one.get("value") if isinstance(one, dict) else None
        if isinstance(value, str) and isinstance(one.get("type"), str) and not fits(one["type"], value):
            yield Problem(_at(where, name), f"{_shown(value)} is no {one['type']}", "10.18")


# -- references and ways ----------------------------------------------------------------------


def _references(document: Mapping[str, Any]) -> Iterator[Problem]:
    steps = document["workflow"]
    for where, target in (("/workflow_start", document["workflow_start"]), *_exception(document)):
        if target not in steps:
            yield Problem(where, f"there is no step {target}", "3.1")
    for key, step in steps.items():
        for name, target in followers(step):
            if target not in steps:
                yield Problem(_at(f"/workflow/{key}", name), f"there is no step {target}", "4.1")
            elif target.startswith("start--"):
                yield Problem(
                    _at(f"/workflow/{key}", name), "the start step is where a run begins; name another", "4.3"
                )
        yield from _objects(document, key, step)
    yield from _extensions(document)


def _objects(document: Mapping[str, Any], key: str, step: Mapping[str, Any]) -> Iterator[Problem]:
    agent = step.get("agent")
    if agent is not None and agent not in document.get("agent_definitions", {}):
        yield Problem(f"/workflow/{key}/agent", f"{agent} is not in agent_definitions", "7")
    for number, target in enumerate(step.get("targets", ())):
        if target not in document.get("target_definitions", {}):
            yield Problem(f"/workflow/{key}/targets/{number}", f"{target} is not in target_definitions", "7")


def _extensions(document: Mapping[str, Any]) -> Iterator[Problem]:
    known = document.get("extension_definitions", {})
    places = [("/playbook_extensions", document.get("playbook_extensions", {}))]
    places += [
        (f"/workflow/{key}/step_extensions", s.get("step_extensions", {})) for key, s in document["workflow"].items()
    ]
    for where, used in places:
        for name in used:
            if name not in known:
                yield Problem(_at(where, name), f"{name} is not in extension_definitions", "8")


def _exception(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    target = document.get("workflow_exception")
    return [("/workflow_exception", target)] if target is not None else []


def followers(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every step that this one names, with the property (a path below the step) that names it."""
    named = [(name, step[name]) for name in (*_NEXT, *_INNER) if name in step]
    named += [(f"next_steps/{number}", target) for number, target in enumerate(step.get("next_steps", ()))]
    return named + [(f"cases/{_escaped(case)}", target) for case, target in step.get("cases", {}).items()]


def _ways(document: Mapping[str, Any]) -> Iterator[Problem]:
    steps = document["workflow"]
    kinds = {step["type"] for step in steps.values()}
    if not kinds & {"action", "playbook-action"} or "end" not in kinds:
        yield Problem(
            "/workflow", "a playbook has a start step, an action or playbook-action step, and an end step", "3.1"
        )
    for key, step in steps.items():
        if step["type"] != "end" and not {"on_completion", "on_success"} & set(step):
            how = "no way on: name a step in on_completion or on_success; a branch ends in an end step"
            yield Problem(f"/workflow/{key}", how, "4.1")
    yield from _rounds(steps)
    created, modified = (vocabulary.parsed(document[name]) for name in ("created", "modified"))
    if created and modified and modified < created:
        yield Problem("/modified", "modified lies before created", "3.1")
    first, last = (vocabulary.parsed(document.get(name, "")) for name in ("valid_from", "valid_until"))
    if first and last and last <= first:
        yield Problem("/valid_until", "valid_until lies after valid_from", "3.1")


def _rounds(steps: Mapping[str, Any]) -> Iterator[Problem]:
    """A step that is reached again from itself, the first that is found. Without recursion."""
    done: set[str] = set()
    for first in steps:
        path: list[str] = []
        waiting = [(first, False)]
        while waiting:
            key, left = waiting.pop()
            if left:
                done.add(path.pop())
            elif key in path:
                yield Problem(
                    f"/workflow/{key}", "the steps go round in a circle; loop with a while-condition step", "4.9"
                )
                return
            elif key not in done and key in steps:
                path.append(key)
                waiting += [(key, True), *((target, False) for _, target in followers(steps[key]))]


# -- variables and conditions ----------------------------------------------------------------------


def _variables(document: Mapping[str, Any]) -> Iterator[Problem]:
    known = dict(document.get("playbook_variables", {}))
    for step in document["workflow"].values():
        known |= step.get("step_variables", {})
    for key, step in document["workflow"].items():
        where = f"/workflow/{key}"
        for name in sorted(names_in({k: v for k, v in step.items() if k != "step_variables"}) - set(known)):
            yield Problem(where, f"{name} is used and nowhere declared; declare it in playbook_variables", "10.18")
        for arguments in ("in_args", "out_args"):
            yield from _arguments(step.get(arguments, ()), known, f"{where}/{arguments}")
        yield from _conditions(step, where)


def _arguments(names: Sequence[str], known: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for number, name in enumerate(names):
        if name not in known:
            yield Problem(f"{where}/{number}", f"{name} is nowhere declared", "10.18")
        elif where.endswith("out_args") and known[name].get("constant") is True:
            yield Problem(f"{where}/{number}", f"{name} is a constant and cannot be returned", "10.18")


def _conditions(step: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if "condition" in step:
        try:
            read_condition(step["condition"])
        except BadPlaybook as error:
            yield Problem(f"{where}/condition", error.problems[0].text, vocabulary.STEPS[step["type"]][0])
    if "switch" in step and not REFERENCE.fullmatch(step["switch"]):
        yield Problem(f"{where}/switch", "expected one variable, such as __pattern__:value", "4.10")
    if step["type"] == "switch-condition" and not step["cases"]:
        yield Problem(f"{where}/cases", "expected one case or more", "4.10")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")  # RFC 6901


def _at(where: str, name: str) -> str:
    return f"{where}/{name if where.startswith('/workflow/') and '/' in name else _escaped(name)}"


def _shown(value: Any) -> str:
    found = json.dumps(value, default=str)
    return found if len(found) <= 40 else found[:37] + "..."
