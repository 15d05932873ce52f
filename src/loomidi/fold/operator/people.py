"""Who may approve: names, groups and public keys, from a file that may change while the operator runs.

Called by `approving`; the file is named by `--approvers`, a ConfigMap that is mounted or a file of one's own. In: YAML
or JSON. Out: people by key. Read again when it changes; while it cannot be read nobody can approve.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts import LoomidiError
from loomidi.crypt.keys import PublicKey
from loomidi.fold.operator.errors import BadApprovers
from loomidi.ionic.approvals import GUARDS
from loomidi.kit.logging import logger

_LOG = logger("fold.operator")
_FIELDS = {"name", "groups", "key"}


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """One who may approve."""

    name: str
    groups: frozenset[str]
    key: PublicKey


class People:
    """Those of a file, as it is now."""

    def __init__(self, file: Path) -> None:
        """Raises BadApprovers: at the start a file that cannot be used is told."""
        self._file, self._seen = file, _mark(file)
        self._known = read_people(file)

    def with_key(self, key_id: str) -> Person | None:
        """None when the file lists nobody with this key."""
        if (mark := _mark(self._file)) != self._seen:
            self._seen = mark
            try:
                self._known = read_people(self._file)
            except BadApprovers as error:
                self._known = {}
                _LOG.error("nobody can approve now", error=str(error))
        return self._known.get(key_id)


def read_people(file: Path) -> dict[str, Person]:
    """By the id of their key. Raises BadApprovers: two of one name, or of one key, are not two people."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadApprovers(
            f"{file}: {error.strerror}; name a file with `approvers: [{{name, groups, key}}]`"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadApprovers(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from error
    listed = document.get("approvers") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise BadApprovers(f"{file}: has no list `approvers`; give one entry {{name, groups, key}} a person")
    people = [_person(one, f"{file}: approvers[{at}]") for at, one in enumerate(listed)]
    for what in ("name", "key"):
        values = [_same(getattr(one, what)) for one in people]
        if twice := next((one.name for one in people if values.count(_same(getattr(one, what))) > 1), ""):
            raise BadApprovers(f"{file}: the {what} of {twice} is there twice; each person has one of their own")
    return {one.key.id: one for one in people}


def _same(value: Any) -> Any:
    """Names that differ in case or blanks only are one person's."""
    return "".join(value.casefold().split()) if isinstance(value, str) else value


def _person(given: Any, where: str) -> Person:
    if not isinstance(given, Mapping) or set(given) - _FIELDS or not {"name", "key"} <= set(given):
        raise BadApprovers(f"{where}: give name, groups and key, nothing else")
    name, groups = given["name"], given.get("groups") or []
    if not isinstance(name, str) or not name or name == GUARDS:
        raise BadApprovers(f"{where}.name: give a name, other than {GUARDS}")
    if not isinstance(groups, list) or not all(isinstance(one, str) and one for one in groups):
        raise BadApprovers(f"{where}.groups: give a list of names")
    try:
        return Person(name, frozenset(groups), PublicKey.of(str(given["key"])))
    except LoomidiError as error:
        raise BadApprovers(f"{where}.key: {error}") from error


def _mark(file: Path) -> tuple[int, ...]:
    """Another one when the file was changed or replaced."""
    try:
        told = file.stat()
    except OSError:
        return ()
    return told.st_ino, told.st_mtime_ns, told.st_size
