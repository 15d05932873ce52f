"""One configuration file: TOML to grouped frozen dataclasses and back, with what each field says of itself.

Called by `services` at the edge (`loomidi run`). In: a dataclass whose fields are groups, the text of a file, the
environment. Out: one instance, or `BadSetting` that names the key and what it takes. Printing gives a file that reads
back to the same settings, each field under the comment that stands under it in the source. tomllib reads, tomlkit
writes.
"""

import dataclasses
import difflib
import inspect
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from loomidi.kit.settings import PREFIX, BadSetting

T = TypeVar("T")
_COMMENT = re.compile(r"    #\s?(.*)")
_FIELD = re.compile(r"    (\w+):")


def parse(kind: type[T], text: str, name: str) -> T:
    """The file's text as settings; what it leaves out keeps its default. Raises BadSetting."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{name}: not TOML: {error}") from error
    return _built(kind(), document, name, "")


def read(kind: type[T], path: Path | None, environment: Mapping[str, str]) -> T:
    """The file's settings (defaults without a file), overlaid by LOOMIDI_GROUP_FIELD. Raises BadSetting."""
    if path is None:
        settings = kind()
    else:
        try:
            settings = parse(kind, path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise BadSetting(f"{path}: {reason}; `loomidi run --print-config` prints one to begin with") from error
    return overlaid(settings, environment)


def overlaid(settings: T, environment: Mapping[str, str], prefix: str = PREFIX) -> T:
    """With each field replaced whose variable is set; a list is written with commas."""
    given: dict[str, Any] = {}
    for field, kind in _kinds(type(settings)).items():
        variable = f"{prefix}_{field}".upper()
        if dataclasses.is_dataclass(kind):
            given[field] = overlaid(getattr(settings, field), environment, variable)
        elif variable in environment:
            given[field] = _of_text(environment[variable], kind, variable)
    return _replaced(settings, given, prefix)


def printed(settings: Any, head: str = "") -> str:
    """The settings as a file, with the comment of each group and field."""
    lines = [f"# {head}", ""] if head else []
    for group in dataclasses.fields(settings):
        lines += _group(getattr(settings, group.name), group.name)
    return "\n".join(lines).rstrip("\n") + "\n"


def _group(values: Any, name: str) -> list[str]:
    """One group: its own fields first, then the groups in it."""
    said = _said(type(values))
    fields = dataclasses.fields(values)
    lines = [f"# {_summary(type(values))}", f"[{name}]"]
    for field in fields:
        if not dataclasses.is_dataclass(getattr(values, field.name)):
            lines += [f"# {line}" for line in said.get(field.name, ())]
            lines.append(f"{field.name} = {_written(getattr(values, field.name))}")
    lines.append("")
    for field in fields:
        if dataclasses.is_dataclass(getattr(values, field.name)):
            lines += _group(getattr(values, field.name), f"{name}.{field.name}")
    return lines


def _summary(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def comments(kind: type[Any]) -> dict[str, list[str]]:
    """Field -> the lines of the comment under it."""
    return _said(kind)


def _said(kind: type[Any]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    field = ""
    for line in inspect.getsource(kind).splitlines():
        named = _FIELD.match(line)
        if named:
            field = named[1]
            continue
        comment = _COMMENT.fullmatch(line)
        if comment and field:
            said.setdefault(field, []).append(comment[1])
        elif not comment:
            field = field if line.startswith("        ") or line == "    )" else ""
    return said


def _built(base: T, document: Mapping[str, Any], name: str, where: str) -> T:
    """The settings with what the document says instead."""
    kinds = _kinds(type(base))
    given = {}
    for key, value in document.items():
        path = f"{where}{key}"
        if key not in kinds:
            raise BadSetting(f"{name}: there is no setting {path}{_nearest(key, kinds)}")
        if not dataclasses.is_dataclass(kinds[key]):
            given[key] = _typed(value, kinds[key], name, path)
        elif isinstance(value, dict):
            given[key] = _built(getattr(base, key), value, name, f"{path}.")
        else:
            raise BadSetting(f"{name}: {path} is a group; write it as [{path}]")
    return _replaced(base, given, f"{name}: [{where.rstrip('.') or 'file'}]")


def _replaced(settings: T, given: Mapping[str, Any], where: str) -> T:
    try:
        return dataclasses.replace(settings, **given)  # type: ignore[type-var]
    except ValueError as error:  # a group's own check of its values
        raise BadSetting(f"{where}: {error}") from error


def _kinds(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _nearest(key: str, kinds: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, kinds, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(kinds)}"


def _typed(value: Any, kind: Any, name: str, path: str) -> Any:
    """A value of TOML as the type of its field."""
    inner = _maybe(kind)
    if inner is not None:
        return None if value == "" else _typed(value, inner, name, path)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise BadSetting(f"{name}: {path} is {value!r}; it takes a list")
        return tuple(_typed(one, typing.get_args(kind)[0], name, path) for one in value)
    return _scalar(value, kind, name, path)


def _maybe(kind: Any) -> Any:
    """The type beside None, which a file writes as an empty text; None for other types."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (inner,) = (one for one in typing.get_args(kind) if one is not type(None))
        return inner
    return None


def _scalar(value: Any, kind: Any, name: str, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if type(value) is kind:
        return value
    if isinstance(value, str) and issubclass(kind, str):  # an enumeration
        return _converted(value, kind, f"{name}: {path}")
    raise BadSetting(f"{name}: {path} is {value!r}; it takes {_called(kind)}")


def _of_text(text: str, kind: Any, variable: str) -> Any:
    """A variable's text as the type of its field."""
    if _maybe(kind) is not None:
        return _of_text(text, _maybe(kind), variable) if text else None
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_of_text(one.strip(), inner, variable) for one in text.split(",") if one.strip())
    if kind is bool:
        if text.lower() not in ("0", "1", "true", "false", "yes", "no", "on", "off"):
            raise BadSetting(f"{variable} is {text!r}; use 1 or 0")
        return text.lower() in ("1", "true", "yes", "on")
    return _converted(text, kind, variable)


def _converted(text: str, kind: Any, where: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise BadSetting(f"{where} is {text!r}; it takes {_called(kind)}") from error


def _called(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    if kind in names:
        return names[kind]
    return "one of " + ", ".join(str(one.value) for one in kind) if hasattr(kind, "__members__") else kind.__name__


def _written(value: Any) -> str:
    import tomlkit

    value = "" if value is None else value
    plain = [
        str(one) if isinstance(one, (Path, str)) else one for one in (value if isinstance(value, tuple) else [value])
    ]
    return tomlkit.item(plain if isinstance(value, tuple) else plain[0]).as_string()
