"""The docs name what is there: settings, options, files; and the commands they show exist."""

import dataclasses
import re
from pathlib import Path

import click
import pytest

from loomidi.conductor.cli import loomidi
from loomidi.conductor.verbs import VERBS
from loomidi.kit import settings
from tools import cli_page, engines, guardrails_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
FENCE = re.compile(r"^```(?:console|sh|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown_commands() -> list[tuple[str, str]]:
    """Every `loomidi ...` line in a fenced shell example, with its page."""
    return [
        (page.name, line.removeprefix("$ ").removeprefix("sudo "))
        for page in PAGES
        for block in FENCE.findall(page.read_text())
        for line in block.splitlines()
        if re.match(r"(\$ )?(sudo )?loomidi ", line)
    ]


def test_every_setting_is_on_the_settings_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert [name for name in settings.variables() if f"`{name}`" not in page] == []


def test_every_setting_says_its_unit_and_reason() -> None:
    source = Path(settings.__file__).read_text()
    for group in dataclasses.fields(settings.Settings):
        for field in dataclasses.fields(getattr(settings.Settings(), group.name)):
            assert re.search(rf"    {field.name}: .*\n    # \S", source), f"{group.name}.{field.name}"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert cli_page.PAGE.read_text() == cli_page.rendered(), "run: make docs"


def test_the_page_of_guardrails_is_what_the_rules_say() -> None:
    assert guardrails_page.PAGE.read_text() == guardrails_page.rendered(), "run: make docs"


def test_the_policies_for_other_engines_are_what_the_rules_say() -> None:
    assert engines.behind() == [], "run: make docs"


def test_every_rule_has_its_entry_for_other_engines_and_says_why_where_one_is_missing() -> None:
    entries, rules = engines.source()["rules"], {path.stem for path in engines.LIBRARY.glob("*.rego")}
    assert set(entries) == rules
    assert [name for name, entry in entries.items() if ("jmespath" in entry) == ("because" in entry)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_every_command_that_is_shown_exists(page: str, line: str) -> None:
    command: click.Command = loomidi
    known = {"--help", "--version", "-h"}
    for word in line.split()[1:]:
        found = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        command = found or command
    known |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert command is not loomidi or not {word for word in line.split()[1:2] if word not in VERBS} - known
    assert {word.split("=")[0] for word in line.split() if word.startswith("--")} <= known
