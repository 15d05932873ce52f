"""Content hashes of a recording's files.

Called by the recorder (which writes them, last of all) and `verifying`. In: a folder. Out: `MANIFEST.sha256` in the
form of sha256sum, so that anybody can check it: `sha256sum -c MANIFEST.sha256`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.streams import MANIFEST

_CHUNK = 1 << 20


def files(folder: Path) -> list[Path]:
    """All files but the manifest, in a fixed order."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def write_manifest(folder: Path) -> None:
    """Hash everything; the file appears only when it is complete."""
    lines = [f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files(folder)]
    partial = folder / f".{MANIFEST}.part"
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, str]:
    """Relative name to hash. Raises InputError when it is missing or no manifest."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} has no {MANIFEST}: the recording was cut off; record it again") from error
    return dict(_parsed(text, folder))


def _parsed(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        found, mark, name = line.partition("  ")
        if not mark or len(found) != 64 or not name:
            raise InputError(f"{folder}/{MANIFEST}:{number} is no line of a manifest; the file is damaged")
        yield name, found


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def content_hash(folder: Path) -> str:
    """One hash for the whole recording: that of its manifest."""
    return digest(folder / MANIFEST)
