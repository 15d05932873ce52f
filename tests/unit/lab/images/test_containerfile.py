"""The Containerfile and the recipe of Loomidi's image say the same."""

import json
import re

import pytest

from loomidi_lab.images import containerfile, recipes
from loomidi_lab.images.places import CHECKOUT


@pytest.fixture(scope="module")
def text() -> str:
    return containerfile.TARGET.read_text()


def final(text: str) -> str:
    """The last stage, the image itself."""
    return text[text.rindex("\nFROM ") :]


def test_the_file_in_the_checkout_is_the_one_that_the_recipe_gives(text: str) -> None:
    assert text == containerfile.render(), "run: python -m loomidi_lab.images.containerfile"


def test_it_installs_the_packages_of_the_recipe_and_its_parents(text: str) -> None:
    installed = set(re.findall(r"(?m)^      (\S+) \\$", final(text)))
    assert installed == {package for recipe in recipes.chain("loomidi") for package in recipe.packages}


def test_it_starts_what_the_image_starts(text: str) -> None:
    running = recipes.RECIPES["loomidi"].running
    entry = re.search(r"(?m)^ENTRYPOINT (.+)$", text)
    command = re.search(r"(?m)^CMD (.+)$", text)
    assert entry
    assert command
    assert (json.loads(entry[1]), json.loads(command[1])) == (list(running.entrypoint), list(running.cmd))


def test_it_copies_the_files_of_the_recipe_and_they_are_there(text: str) -> None:
    copied = re.findall(r"(?m)^COPY --chmod=(\d+) (\S+) (\S+)$", text)
    wanted = recipes.RECIPES["loomidi"].files
    assert [(int(mode, 8), CHECKOUT / source, target) for mode, source, target in copied] == [
        (added.mode, added.source, added.target) for added in wanted
    ]
    assert all((CHECKOUT / source).is_file() for _, source, _ in copied)


def test_dependencies_are_taken_by_their_hashes_and_nothing_else_is_fetched(text: str) -> None:
    pip = re.findall(r"pip3 install [^\n\\]+", text)
    assert len(pip) == 2
    assert all("--no-deps" in line for line in pip)
    wheel, locked = pip
    assert wheel.endswith("/wheel/*.whl ")
    assert "--require-hashes" in locked  # the last one: bin/ is that of the last installation


def test_the_other_recipes_can_be_written_too() -> None:
    for name in recipes.ALL:
        assert recipes.RECIPES[name].title in containerfile.render(name)
