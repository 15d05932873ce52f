"""From a scenario and a seed to one exact course of events; pure.

Called by the commands, the recorder (for its schedule) and `running`. In: `Scenario`, seed. Out: `Drawn`. Each
parameter is drawn from a hash of scenario, seed and its own name, so that adding one leaves the others as they were.
"""

import hashlib
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.records import Drawn, EntityRef, Scenario, Value

_WHOLE = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
_STEPS = 1_000_000  # of a number's range: three decimals are kept, so that documents stay readable


_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "multiply": operator.mul,
    "divide": operator.truediv,
    "quotient": operator.floordiv,
    "add": operator.add,
    "subtract": operator.sub,
}


def draw(scenario: Scenario, seed: int) -> Drawn:
    """The same for the same scenario and seed, whatever the machine or the Python release."""
    document = scenario.document
    values: dict[str, Value] = {"seed": seed}
    parameters = {
        name: _drawn(scenario.name, seed, name, spec) for name, spec in document.get("parameters", {}).items()
    }
    values.update(parameters)
    for name, operation in document.get("derived", {}).items():
        values[name] = _derived(scenario, name, operation, values)
    duration_s = float(fill(document["duration_s"], values))
    values["duration_s"] = duration_s
    truth = fill(document["truth"], values)
    return Drawn(
        scenario=scenario,
        seed=seed,
        parameters=parameters,
        duration_s=duration_s,
        sources=tuple(EntityRef.of(entity) for entity in truth["sources"]),
        victims=tuple(EntityRef.of(entity) for entity in truth["victims"]),
        fold={name: [_fold(fold) for fold in folds] for name, folds in truth["fold"].items()},
        phases={name: fill(document["phases"].get(name, []), values) for name in ("setup", "act", "undo")},
        symptoms=fill(document["symptoms"], values),
    )


def fill(template: Any, values: Mapping[str, Value]) -> Any:
    """Put values in for `${name}`; a string that is nothing else keeps the value's type."""
    if isinstance(template, str):
        whole = _WHOLE.fullmatch(template)
        if whole:
            return values[whole[1]]
        return _WHOLE.sub(lambda found: _text(values[found[1]]), template)
    if isinstance(template, Mapping):
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(value, values) for value in template]
    return template


def _text(value: Value) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _fold(fold: Mapping[str, Any]) -> dict[str, Any]:
    target = fold.get("target")
    return {"kind": fold["kind"], "target": EntityRef.of(target).as_dict() if target else None, "why": fold["why"]}


def _drawn(scenario: str, seed: int, name: str, spec: Mapping[str, Any]) -> Value:
    digest = hashlib.sha256(f"{scenario}\0{seed}\0{name}".encode()).digest()
    number = int.from_bytes(digest[:8], "big")
    if "choice" in spec:
        chosen: Value = spec["choice"][number % len(spec["choice"])]
        return chosen
    if "integer" in spec:
        low, high = spec["integer"]
        return int(low + number % (high - low + 1))
    low, high = (float(end) for end in spec["number"])
    return round(low + (high - low) * (number % (_STEPS + 1)) / _STEPS, 3)


def _derived(scenario: Scenario, name: str, operation: Mapping[str, Any], values: Mapping[str, Value]) -> Value:
    """Left to right over the operands: numbers, or names of parameters and of what was derived before."""
    (verb, operands), *_ = operation.items()
    numbers = [_operand(scenario, name, operand, values) for operand in operands]
    result = numbers[0]
    for number in numbers[1:]:
        if verb in ("divide", "quotient") and not number:
            raise InputError(f"{scenario.name}: `{name}` divides by 0; change the range of its parameters")
        result = _OPERATIONS[verb](result, number)
    return int(result) if result == int(result) else round(result, 3)


def _operand(scenario: Scenario, name: str, operand: Any, values: Mapping[str, Value]) -> float:
    value = values.get(operand.strip("${}")) if isinstance(operand, str) else operand
    if not isinstance(value, (int, float)):
        raise InputError(f"{scenario.name}: `{name}` is derived from {operand!r}, which is no number known before it")
    return float(value)
