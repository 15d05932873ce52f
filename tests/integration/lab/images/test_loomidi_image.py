"""Loomidi's own image holds the checkout and its locked dependencies, and runs."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import loomidi
from loomidi_lab import images
from loomidi_lab.images.places import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

INSIDE = """set -e
cd "$1"; mkdir upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
shift 2
exec chroot root "$@"
"""


@pytest.fixture(scope="module")
def built(new_cache: Callable[[], Path], using: Callable[[Path], AbstractContextManager[None]]) -> images.BuiltImage:
    with using(new_cache()):
        return images.build(["loomidi"], progress=lambda _: None)[0]


@pytest.fixture
def inside(built: images.BuiltImage, tmp_path: Path) -> Callable[..., str]:
    """Run a command in the image."""
    lower = ":".join(str(layer.path.parent / "upper") for layer in reversed(built.layers))
    config = json.loads(built.config)["config"]
    environment = dict(pair.split("=", 1) for pair in config["Env"])

    def run(*words: str) -> str:
        command = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c")
        done = subprocess.run(
            (*command, INSIDE, "sh", str(tmp_path), lower, *words),
            capture_output=True, text=True, check=True, env={"PATH": f"{environment['PATH']}:{os.environ['PATH']}"},
        )  # fmt: skip
        return done.stdout

    return run


def test_it_runs_the_version_of_the_checkout(inside: Callable[..., str]) -> None:
    assert loomidi.__version__ in inside("loomidi", "--version")


def test_its_dependencies_are_those_of_the_lock(built: images.BuiltImage) -> None:
    target = built.folder / "upper" / "opt" / "loomidi"
    there = {path.name.removesuffix(".dist-info").lower().replace("_", "-") for path in target.glob("*.dist-info")}
    lock = (CHECKOUT / "requirements-image.lock").read_text()
    wanted = {f"{name}-{version}" for name, version in re.findall(r"(?m)^([\w-]+)==([\w.]+) \\$", lock)}
    assert wanted <= there
    assert [path.name for path in target.glob("bin/*")] == ["nats-server"]


def test_nothing_in_it_names_this_machine(built: images.BuiltImage) -> None:
    words = ["grep", "-rlIF", str(CHECKOUT), str(built.folder / "upper")]
    assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == ""


def test_no_library_that_it_loads_is_missing(inside: Callable[..., str]) -> None:
    assert "not found" not in inside("sh", "-c", "find /opt/loomidi -name '*.so*' -type f -exec ldd {} + 2>&1 || true")


def test_the_guards_answer_in_it(inside: Callable[..., str]) -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true, containers: [{name: a, image: a}]}"
    told = inside("sh", "-c", f"printf '{pod}' | loomidi policy check --manifest - --profile baseline --json || true")
    assert '"rule": "host_namespaces"' in told
    assert "cannot be" not in told
