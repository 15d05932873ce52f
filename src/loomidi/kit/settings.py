"""Settings: grouped frozen dataclasses, each field with its default, unit and reason.

Called once at the edge (`conductor`), which hands groups down; no other code reads the environment. In: a mapping
such as `os.environ`. Out: one `Settings`. The field `state` of the group `storage` is read from LOOMIDI_STORAGE_STATE.
The page `docs/settings.md` lists them all (a test says so).
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PREFIX = "LOOMIDI"
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


class BadSetting(ValueError):
    """A variable holds what its field cannot take; the message names the variable and what it takes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Logging:
    """What is written to standard error while working."""

    level: str = "warning"
    # debug, info, warning or error. A command that a person reads stays silent unless something is wrong.
    json: bool = False
    # One JSON object a line instead of text, for log collectors.


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """Where things that outlive a command are kept."""

    state: Path = dataclasses.field(default_factory=lambda: _state_folder(os.geteuid()))
    # Folder of receipts and learned baselines: where services expect it for root, else the user's state folder.


@dataclasses.dataclass(frozen=True, slots=True)
class Models:
    """Where trained models are recorded."""

    tracking: str = ""
    # URL of an MLflow server; empty: SQLite and files in the folder `models` of the state, which asks for no server.


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All groups."""

    logging: Logging = dataclasses.field(default_factory=Logging)
    storage: Storage = dataclasses.field(default_factory=Storage)
    models: Models = dataclasses.field(default_factory=Models)


def _state_folder(user: int) -> Path:
    return Path("/var/lib/loomidi") if user == 0 else Path.home() / ".local" / "state" / "loomidi"


def variables() -> dict[str, str]:
    """Every variable that is read -> its default as text."""
    return {
        _variable(group.name, field.name): str(getattr(getattr(Settings(), group.name), field.name))
        for group in dataclasses.fields(Settings)
        for field in dataclasses.fields(getattr(Settings(), group.name))
    }


def read(environment: Mapping[str, str]) -> Settings:
    """Defaults overlaid with the environment. Raises BadSetting; unknown variables are left alone."""
    base = Settings()
    groups = {
        group.name: _overlay(group.name, getattr(base, group.name), environment) for group in dataclasses.fields(base)
    }
    return Settings(**groups)


def _variable(group: str, field: str) -> str:
    return f"{PREFIX}_{group}_{field}".upper()


def _overlay(name: str, group: Any, environment: Mapping[str, str]) -> Any:
    """The group with each field replaced whose variable is set."""
    given = {}
    for field in dataclasses.fields(group):
        variable = _variable(name, field.name)
        if variable in environment:
            given[field.name] = _parsed(variable, environment[variable], getattr(group, field.name))
    return dataclasses.replace(group, **given)


def _parsed(variable: str, text: str, default: Any) -> Any:
    """The text as the type of the default."""
    if isinstance(default, bool):
        if text.lower() not in _TRUE | _FALSE:
            raise BadSetting(f"{variable} is {text!r}; use 1 or 0")
        return text.lower() in _TRUE
    try:
        return type(default)(text)
    except ValueError as error:
        raise BadSetting(f"{variable} is {text!r}; it takes a value such as {default}") from error
