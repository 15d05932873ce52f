"""The images that the lab promises, and the keys by which they are built once."""

import dataclasses
from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi_lab import images
from loomidi_lab.images import building, places, recipes, staging
from loomidi_lab.images.recipes import RECIPES, Recipe
from loomidi_lab.images.records import Added

SERVERS = {"nginx": 8080, "redis": 6379, "postgres": 5432, "sshd": 22}
TOOLS = {"nmap", "hping3", "hydra", "slowhttptest", "iodine", "sshpass", "dsniff", "stress-ng", "tcpdump"}


def test_the_default_set_has_the_names_that_everybody_uses() -> None:
    assert {RECIPES[name].reference for name in recipes.DEFAULT} == {
        f"lab.loomidi.io/{name}:1" for name in ("base", "attacker", "nginx", "redis", "postgres", "sshd", "shop")
    }


def test_the_red_team_has_its_tools_and_the_base_has_none_of_them() -> None:
    assert set(RECIPES["attacker"].packages) >= TOOLS
    assert not TOOLS & set(RECIPES["base"].packages)


@pytest.mark.parametrize(("name", "port"), SERVERS.items())
def test_a_server_says_its_port_and_its_command_is_in_the_image(name: str, port: int) -> None:
    recipe = RECIPES[name]
    assert recipe.running.ports == (port,)
    targets = {target: added.mode for added in recipe.files for _, target in staging.listed(added)}
    assert targets[f"/usr/local/bin/{recipe.running.entrypoint[0]}"] == 0o755


@pytest.mark.parametrize("name", ["nginx", "redis", "postgres", "shop"])
def test_what_needs_no_root_runs_without(name: str) -> None:
    user, _, group = RECIPES[name].running.user.partition(":")
    assert user == group
    assert int(user) > 0


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_packages_are_sorted_and_nothing_comes_twice_from_the_parent(name: str) -> None:
    own, *parents = recipes.chain(name)
    assert list(own.packages) == sorted(set(own.packages))
    assert not set(own.packages) & {package for parent in parents for package in parent.packages}


def test_parents_come_before_their_images_and_once() -> None:
    assert [recipe.name for recipe in recipes.select(("nginx", "redis"))] == ["bookworm", "base", "nginx", "redis"]


def test_an_unknown_image_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"no image 'ngix'; choose from base, attacker, nginx"):
        images.build(["ngix"])


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "run.sh").write_text("one")
    return Recipe("tiny", "Tiny", "base", ("jq",), files=(Added(tmp_path / "run.sh", "/run.sh", 0o755),))


def test_the_key_stays_while_nothing_changes(recipe: Recipe) -> None:
    assert images.key(recipe) == images.key(dataclasses.replace(recipe))


def test_the_key_changes_with_the_content_of_a_file(recipe: Recipe) -> None:
    before = images.key(recipe)
    recipe.files[0].source.write_text("two")
    assert images.key(recipe) != before


@pytest.mark.parametrize(
    "change",
    [{"packages": ("jq", "less")}, {"commands": ("true",)}, {"parent": "bookworm"}, {"files": ()}, {"title": "Other"}],
)
def test_the_key_changes_with_the_recipe(recipe: Recipe, change: dict[str, object]) -> None:
    assert images.key(dataclasses.replace(recipe, **change)) != images.key(recipe)  # type: ignore[arg-type]


def test_the_key_changes_with_the_parent(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.key(recipe)
    changed = dataclasses.replace(RECIPES["base"], packages=(*RECIPES["base"].packages, "zip"))
    monkeypatch.setitem(RECIPES, "base", changed)
    assert images.key(recipe) != before


def test_the_key_does_not_depend_on_where_the_checkout_lies(recipe: Recipe, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "run.sh"
    copy.parent.mkdir()
    copy.write_text("one")
    moved = dataclasses.replace(recipe, files=(dataclasses.replace(recipe.files[0], source=copy),))
    assert images.key(moved) == images.key(recipe)


def test_compiled_python_is_no_part_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / "app" / "__pycache__" / "x.pyc").write_text("")
    (tmp_path / "app" / "x.py").write_text("")
    assert [target for _, target in staging.listed(Added(tmp_path / "app", "/app"))] == ["/app/x.py"]


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="app is missing"):
        list(staging.listed(Added(tmp_path / "app", "/app")))


def test_a_full_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "LEAST_GB", 1e9)
    with pytest.raises(EnvironmentLacks, match="LOOMIDI_LAB_CACHE"):
        places.check_disk()
    assert not (tmp_path / "cache").exists()


def test_without_root_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(EnvironmentLacks, match="root"):
        building.build(["base"])
    assert not (tmp_path / "cache").exists()
