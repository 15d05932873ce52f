"""Playbooks as documents: read, checked, held unchanged, and written again.

Called by `services.playing` and the rest of this room. In: the JSON of a CACAO v2.0 playbook. Out: a `Playbook`, or
BadPlaybook with every problem. A playbook is kept as the document it was, so what is written is what was read; what it
does is left to `walking`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, InputError
from loomidi.ionic.errors import BadPlaybook
from loomidi.ionic.playbooks.checking import problems_of
from loomidi.origami.online.rules import rules_folder

MOST_OCTETS = 1 << 20
FOLDER = "playbooks"  # below rules


@dataclasses.dataclass(frozen=True, slots=True)
class Playbook:
    """One that was found right. `document` is never changed."""

    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """`playbook--UUID`."""
        return str(self.document["id"])

    @property
    def name(self) -> str:
        """As people say."""
        return str(self.document["name"])

    @property
    def version(self) -> str:
        """Its `modified` time: what tells versions of one id apart."""
        return str(self.document["modified"])

    @property
    def steps(self) -> Mapping[str, Mapping[str, Any]]:
        """Key -> step."""
        workflow: Mapping[str, Mapping[str, Any]] = self.document["workflow"]
        return workflow

    @property
    def variables(self) -> Mapping[str, Mapping[str, Any]]:
        """Playbook variables by name."""
        declared: Mapping[str, Mapping[str, Any]] = self.document.get("playbook_variables", {})
        return declared


def read_playbook(text: str | bytes) -> Playbook:
    """Raises BadPlaybook; never anything else, whatever the text is."""
    if len(text) > MOST_OCTETS:
        raise BadPlaybook.of("", f"{len(text)} octets; at most {MOST_OCTETS} are read", "")
    try:
        document = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # what cannot be written again is not read
    except RecursionError as error:
        raise BadPlaybook.of("", "the JSON is nested too deep to be a playbook", "") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise BadPlaybook.of("", f"no JSON: {error}", "") from error
    return taken(document)


def taken(document: Any) -> Playbook:
    """The same for JSON that was parsed already."""
    if problems := problems_of(document):
        raise BadPlaybook(problems)
    return Playbook(document)


def written(playbook: Playbook) -> str:
    """The document as JSON text, in its own order."""
    return json.dumps(playbook.document, indent=2, ensure_ascii=False) + "\n"


def load(path: Path) -> Playbook:
    """From a file. Raises InputError for one that cannot be read, BadPlaybook for one that is none."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a CACAO playbook") from error
    return read_playbook(text)


def library(folder: Path | None = None) -> Mapping[str, Playbook]:
    """The playbooks that ship with us, by the name of their file. Raises EnvironmentLacks where there are none."""
    base = rules_folder(FOLDER) if folder is None else folder
    found = {path.name.removesuffix(".cacao.json"): load(path) for path in sorted(base.glob("*.cacao.json"))}
    if not found:
        raise EnvironmentLacks(f"{base}: no playbooks there; reinstall loomidi")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are told once: of two with one name, readers would take different ones."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} is there twice in one object")
    return found
