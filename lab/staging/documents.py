"""A YAML document with the line and column of each of its values.

Called by `loading`. In: text. Out: plain values and `Places`, which finds the line of a path. Leaves meaning to the
schema. A key given twice is a mistake here, where plain YAML keeps the last.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from loomidi.contracts.errors import InputError

Path = tuple[str | int, ...]
Mark = tuple[int, int]  # line and column, counted from 1


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Values beside the marks of keys and of values."""

    name: str
    values: Any
    marks: dict[Path, Mark]  # of a value, for list items and for the document
    keys: dict[Path, Mark]  # of the key that leads to the value

    def where(self, path: Sequence[str | int], *, key: str = "") -> str:
        """`scenario.yaml:12:5`, for the value at `path` or for its unknown `key`; the nearest known place otherwise."""
        full = (*path, key) if key else tuple(path)
        while full and full not in self.keys and full not in self.marks:
            full = full[:-1]
        line, column = self.keys.get(full) or self.marks.get(full, (1, 1))
        return f"{self.name}:{line}:{column}"


def read(text: str, name: str) -> Document:
    """Parse. Raises InputError with line and column for what is no YAML or gives a key twice."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise InputError(f"{name}:1:1: the file is empty; see lab/staging/README.md for what belongs into it")
        document = Document(name, None, {}, {})
        for path, mark in _walk(node, (), document.keys, name):
            document.marks[path] = mark
        return dataclasses.replace(document, values=yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        at = f"{place.line + 1}:{place.column + 1}" if place else "1:1"
        raise InputError(f"{name}:{at}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}:1:1: {' '.join(str(error).split())}") from error


def _walk(node: yaml.Node, path: Path, keys: dict[Path, Mark], name: str) -> Iterator[tuple[Path, Mark]]:
    yield path, _mark(node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), keys, name)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in keys:
                raise InputError(f"{name}:{_mark(key)[0]}:{_mark(key)[1]}: `{key.value}` is given twice; keep one")
            keys[below] = _mark(key)
            yield from _walk(value, below, keys, name)


def _mark(node: yaml.Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1
