"""Pages that a test follows: they can be read as steps, tell the whole story, and use commands that are there."""

from pathlib import Path

import click
import pytest

from loomidi.conductor.cli import loomidi
from tests.integration.lab.walk.pages import Step, declared, steps
from tests.integration.lab.walk.walking import Walker

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"
STORY = ("Guarded", "Waits for 1 more", "approved", "applied", "verified", "Active", "Released", "nothing is left")
ENDS = {"|", "||", "&&", ";"}


def calls(step: Step) -> list[list[str]]:
    """Every call of `loomidi` in a step, by its words."""
    found = []
    for words in step.commands:
        for at in (number for number, word in enumerate(words) if word.endswith("loomidi") and "/" not in word):
            rest = words[at + 1 :]
            found.append(rest[: next((number for number, word in enumerate(rest) if word in ENDS), len(rest))])
    return [call for call in found if call and call[0] in loomidi.list_commands(click.Context(loomidi))]


def strange(call: list[str]) -> set[str]:
    """Words of a call that `loomidi` does not know: a verb, an option."""
    command: click.Command = loomidi
    for number, word in enumerate(call):
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        if found is None:
            return {" ".join(call[: number + 1])}
        command = found
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {word for word in call if word.startswith("--")} - known


def test_the_page_uses_verbs_and_options_that_exist() -> None:
    used = [call for step in steps(PAGE.read_text()) for call in calls(step)]
    assert {call[1] for call in used if call[0] == "fold"} == {"keygen", "show", "approve", "release", "list"}
    assert [strange(call) for call in used if strange(call)] == []


def test_the_page_tells_the_whole_life_of_a_fold_in_this_order() -> None:
    seen, at = "\n".join(line for step in steps(PAGE.read_text()) for line in step.seen), 0
    for word in STORY:
        at = seen.index(word, at)


def test_what_the_page_lets_differ_is_declared_and_all_else_is_as_it_stands() -> None:
    first, *others = steps(PAGE.read_text())
    assert declared(first).keys() == {"KUBECONFIG", "WORK", "CHART", "IMAGE", "TAG", "DEMO_IMAGE", "LINKS"}
    assert not any(declared(step) for step in others)


def page(*blocks: str) -> list[Step]:
    return steps("\n\n".join(f"```sh\n{one}\n```" if "\n\n" not in one else one for one in blocks))


def follow(folder: Path, blocks: list[Step]) -> list[str]:
    with Walker(folder, folder, {}) as walker:
        return [walker.take(step) for step in blocks]


def test_a_step_knows_the_names_of_those_before_it_and_reads_nothing_of_the_page(tmp_path: Path) -> None:
    told = follow(tmp_path, page("WORD=good\ncat", 'echo "$WORD"'))
    assert [one.strip() for one in told] == ["", "good"]


@pytest.mark.parametrize("script", ["false\necho on", "false | cat", 'echo "$UNKNOWN"', "exit 3"])
def test_a_step_that_fails_ends_the_walk(tmp_path: Path, script: str) -> None:
    with pytest.raises(AssertionError, match="a step fails"):
        follow(tmp_path, page(script))


@pytest.mark.parametrize(("seen", "lacking"), [("a ... d\nlast", ""), ("last\na ...", "a ..."), ("b c", "b c")])
def test_what_is_seen_is_whole_lines_in_their_order(tmp_path: Path, seen: str, lacking: str) -> None:
    (step,) = steps(f"```sh\necho x\n```\n\n```text\n{seen}\n```\n")
    assert step.lacking("first\na  b\tc d\nlast\n") == lacking
