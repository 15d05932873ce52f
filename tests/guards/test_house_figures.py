"""The house budgets, checked on the syntax tree: bodies, files, nesting, positional parameters, docstrings, names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for part in ("src/loomidi", "lab") for path in (ROOT / part).rglob("*.py"))
C_SOURCES = sorted(path for path in (ROOT / "bpf").rglob("*.[ch]"))
BODY, FILE, NESTING, POSITIONAL, C_FUNCTION = 40, 500, 3, 5, 60
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
NESTERS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Every function of a file with the place to look."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def every() -> Iterator[tuple[str, Function]]:
    for path in SOURCES:
        yield from functions(path)


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Deepest block inside a function; `elif` is no deeper than its `if`, inner functions count for themselves."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deepest = max(deepest, nesting(child, depth + (isinstance(child, NESTERS) and not is_elif)))
    return deepest


def called_by_click(function: Function) -> bool:
    """A callback of click: its parameters are the table of options, handed over by keyword."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(".option(" in text or ".argument(" in text or ".command(" in text for text in decorators)


def test_bodies_stay_within_forty_lines() -> None:
    assert [where for where, function in every() if body_lines(function) > BODY] == []


def test_nesting_stays_within_three() -> None:
    assert [where for where, function in every() if nesting(function) > NESTING] == []


def test_functions_take_at_most_five_positional_parameters() -> None:
    def positional(function: Function) -> int:
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        return len([name for name in names if name not in ("self", "cls")])

    wide = [(where, function) for where, function in every() if positional(function) > POSITIONAL]
    assert [where for where, function in wide if not called_by_click(function)] == []


def test_files_stay_within_five_hundred_lines() -> None:
    files = [
        *SOURCES,
        *C_SOURCES,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "bench").rglob("*.py"),
        *(ROOT / "tools").rglob("*.py"),
    ]
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {path: lines for path, lines in long.items() if lines > FILE} == {}


def c_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Functions of a C file with their lines: clang-format puts both braces of a body, and of nothing else, alone."""
    lines = path.read_text().splitlines()
    for at, line in enumerate(lines):
        if line == "{":
            yield f"{path.relative_to(ROOT)}:{at} {lines[at - 1]}", lines.index("}", at) - at - 1


def test_bodies_in_c_stay_within_sixty_lines() -> None:
    bodies = [body for path in C_SOURCES for body in c_functions(path)]
    assert len(bodies) > 100
    assert [where for where, lines in bodies if lines > C_FUNCTION] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_public_functions_say_what_they_are_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    named = [node for node in ast.iter_child_nodes(tree) if isinstance(node, Function | ast.ClassDef)]
    silent = [node.name for node in named if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in SOURCES if path.stem in VAGUE or path.parent.name in VAGUE] == []
