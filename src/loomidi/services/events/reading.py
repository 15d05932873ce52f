"""Files of ours as what can be told: a report, receipts as JSON, a store of receipts.

Called by `loomidi events`, never by the pipeline, which must not reach `ionic.act`. In: a path. Out: tellings in the
file's order. Raises InputError for a file that is none of these.
"""

import json
from pathlib import Path
from typing import Any

from loomidi.contracts import InputError
from loomidi.services.events.rendering import Telling, receipts, tellings

_SQLITE = b"SQLite format 3\x00"
_KINDS = "`loomidi analyze --json`, `loomidi receipts --json` or a store of receipts"


def read(path: Path) -> list[Telling]:
    """All that the file tells."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
        if head == _SQLITE:
            return receipts(_stored(path))
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: neither JSON nor a store; give {_KINDS}") from error
    if not _ours(document):
        raise InputError(f"{path}: holds neither findings nor receipts; give {_KINDS}")
    return tellings(document)


def _stored(path: Path) -> list[Any]:
    from loomidi.ionic.act import SqliteReceipts

    store = SqliteReceipts(path, read_only=True)
    try:
        return store.all()
    finally:
        store.close()


def _ours(document: Any) -> bool:
    return isinstance(document, dict) and any(isinstance(document.get(name), list) for name in ("findings", "receipts"))
