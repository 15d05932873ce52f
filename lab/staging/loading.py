"""Scenario files: found, checked against the schema and against what a schema cannot say.

Called by the commands, the recorder and the fixtures. In: a name. Out: `Scenario`. Raises UsageError for an unknown
name, BadScenario (one line a mistake, with line and column) for a file that cannot be used.
"""

import difflib
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from loomidi.contracts.errors import InputError, UsageError
from loomidi_lab.staging import documents
from loomidi_lab.staging.records import SHARED, Scenario

_HERE = Path(__file__).resolve().parent
SCENARIOS = _HERE.parent / "scenarios"
FILE = "scenario.yaml"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_BUILT_IN = frozenset({"seed", "duration_s"})
_KEYS_BESIDE_KIND = frozenset({"name", "within_s"})


class BadScenario(InputError):
    """A scenario file with mistakes; the text has a line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        """`mistakes`: complete lines, with file, line and column."""
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def names(folder: Path = SCENARIOS) -> list[str]:
    """All scenarios there are, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))


def load(name: str, folder: Path = SCENARIOS) -> Scenario:
    """The scenario of that name. Raises UsageError when there is none, BadScenario when its file is wrong."""
    path = folder / name / FILE
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        near = difflib.get_close_matches(name, names(folder), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`loomidi-lab scenarios` lists them"
        raise UsageError(f"there is no scenario {name!r}; {hint}")
    return parse(path.read_text(encoding="utf-8"), path)


def parse(text: str, path: Path) -> Scenario:
    """A scenario from its text; `path` names it in messages and says where its payloads lie."""
    document = documents.read(text, f"{path.parent.name}/{path.name}")
    mistakes = list(_against_schema(document))
    if not mistakes:
        mistakes = list(_against_itself(document, path.parent))
    if mistakes:
        raise BadScenario(mistakes)
    values: dict[str, Any] = document.values
    return Scenario(
        name=values["name"],
        category=values["category"],
        family=values["family"],
        technique=values.get("technique", ""),
        kind=values.get("kind", ""),
        title=values["title"],
        description=" ".join(values["description"].split()),
        folder=path.parent,
        needs=values["needs"],
        document=values,
    )


@functools.cache
def schema() -> dict[str, Any]:
    """The published JSON schema of scenario files."""
    found: dict[str, Any] = json.loads((_HERE / "scenario.schema.json").read_text(encoding="utf-8"))
    return found


def symptom_kind(symptom: dict[str, Any]) -> str:
    """The one key of a symptom that says how it is measured."""
    return next(key for key in symptom if key not in _KEYS_BESIDE_KIND)


# ---- what the schema says


def _against_schema(document: documents.Document) -> Iterator[str]:
    validator = jsonschema.Draft202012Validator(schema())
    for error in sorted(validator.iter_errors(document.values), key=lambda error: [str(part) for part in error.path]):
        yield from _told(error, document)


def _told(error: jsonschema.ValidationError, document: documents.Document) -> Iterator[str]:
    """A line for each mistake, in words that name the key rather than the schema's rule."""
    path = list(error.absolute_path)
    here = _shown(path)
    rule: Any = error.schema
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        allowed: dict[str, Any] = rule.get("properties", {})
        for key in (key for key in error.instance if key not in allowed):
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"use one of: {', '.join(sorted(allowed))}"
            yield f"{document.where(path, key=str(key))}: unknown key `{key}`{here}; {hint}"
        return
    yield f"{document.where(path)}: {_wrong(error)}{here}"


def _wrong(error: jsonschema.ValidationError) -> str:
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = [key for key in wanted if isinstance(error.instance, dict) and key not in error.instance]
        return f"`{missing[0]}` is missing; add it"
    if error.validator == "enum":
        near = difflib.get_close_matches(str(error.instance), [str(value) for value in wanted], n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"use one of: {', '.join(map(str, wanted))}"
        return f"`{error.instance}` is not known; {hint}"
    if error.validator == "type":
        return f"{error.instance!r} is no {' or '.join(wanted if isinstance(wanted, list) else [wanted])}"
    if error.validator == "pattern":
        return f"{error.instance!r} is not written as it has to be (pattern {wanted})"
    if error.validator in ("maxProperties", "minProperties") and isinstance(error.instance, dict):
        return f"expected exactly one kind here, found {', '.join(map(str, error.instance)) or 'none'}"
    return " ".join(error.message.split())


def _shown(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return f" in {text}" if text else ""


# ---- what the schema cannot say


def _against_itself(document: documents.Document, folder: Path) -> Iterator[str]:
    values = document.values
    checks: Iterable[Callable[[documents.Document, Path], Iterator[str]]] = (
        _name_and_category,
        _ranges,
        _variables,
        _shared,
        _payloads,
        _symptoms,
    )
    if isinstance(values, dict):
        for check in checks:
            yield from check(document, folder)


def _name_and_category(document: documents.Document, folder: Path) -> Iterator[str]:
    values = document.values
    if values["name"] != folder.name:
        yield f"{document.where(['name'])}: the name {values['name']!r} must be that of its folder, {folder.name!r}"
    if values["category"] == "attack" and "technique" not in values:
        yield f"{document.where(['category'])}: an attack needs `technique`, its ATT&CK id such as T1046"
    if values["category"] != "attack" and "technique" in values:
        yield f"{document.where(['technique'])}: only an attack has a `technique`; remove it"
    if values["category"] != "attack" and "kind" not in values:
        yield f"{document.where(['category'])}: a {values['category']} scenario needs `kind`, such as memory_leak"


def _ranges(document: documents.Document, _folder: Path) -> Iterator[str]:
    for name, spec in document.values.get("parameters", {}).items():
        pair = spec.get("integer") or spec.get("number")
        if pair and pair[0] > pair[1]:
            yield f"{document.where(['parameters', name])}: `{name}` goes from {pair[0]} down to {pair[1]}; swap them"


def _variables(document: documents.Document, _folder: Path) -> Iterator[str]:
    values = document.values
    known = {*values.get("parameters", {}), *values.get("derived", {}), *_BUILT_IN}
    for path, text in _strings(values, ()):
        for name in _VARIABLE.findall(text):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else "declare it under `parameters` or `derived`"
                yield f"{document.where(path)}: `${{{name}}}` is no parameter; {hint}"


def _shared(document: documents.Document, folder: Path) -> Iterator[str]:
    for number, name in enumerate(document.values.get("uses", [])):
        at = document.where(["uses", number])
        if not (SHARED / name).is_file():
            there = ", ".join(sorted(path.name for path in SHARED.glob("*.*")))
            yield f"{at}: no scenario shares {name}; there is {there}"
        if (folder / name).exists():
            yield f"{at}: {name} is in {folder.name}/ too; keep one of both"


def _payloads(document: documents.Document, folder: Path) -> Iterator[str]:
    shared = document.values.get("uses", [])
    for path, text in _strings(document.values["phases"], ("phases",)):
        named = path[-1] in ("file", "program") or (len(path) > 1 and path[-2] == "files")
        if named and text not in shared and not (folder / text).is_file():
            yield f"{document.where(path)}: {text} is not in {folder.name}/; add it or correct the name"
    for phase, steps in document.values["phases"].items():
        for number, step in enumerate(steps):
            if "python" in step and not (folder / "act.py").is_file():
                yield f"{document.where(['phases', phase, number])}: a python step needs act.py in {folder.name}/"


def _symptoms(document: documents.Document, _folder: Path) -> Iterator[str]:
    for number, symptom in enumerate(document.values["symptoms"]):
        kinds = [key for key in symptom if key not in _KEYS_BESIDE_KIND]
        if len(kinds) != 1:
            found = ", ".join(kinds) or "none"
            yield f"{document.where(['symptoms', number])}: a symptom needs exactly one measurement, found {found}"


def _strings(value: Any, path: documents.Path) -> Iterator[tuple[documents.Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _strings(below, (*path, str(key)))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _strings(below, (*path, index))
