"""tools/setup_minikube.sh: what it finds, what it would do, what it says when something is missing.

Programs are fakes that say nothing and succeed, or fail where a line of `failing` says so; nothing is installed.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "setup_minikube.sh"
PLAIN = ("dirname", "sed", "grep", "rm", "sh")  # of this machine
AROUND = ("helm", "kubectl", "docker")
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the script where nothing but these programs is installed."""

    def run(*arguments: str, programs: Sequence[str] = (), failing: Sequence[str] = ()) -> Done:
        for name in PLAIN:
            (tmp_path / name).symlink_to(str(shutil.which(name)))
        for name in programs:
            fake = tmp_path / name
            lines = [line.replace(" ", "\\ ") for line in failing]
            tests = "".join(f'case "$0 $*" in */{line}*) exit 1;; esac\n' for line in lines)
            fake.write_text(f"#!/bin/sh\n{tests}exit 0\n")
            fake.chmod(0o755)
        words = ["/bin/sh", str(SCRIPT), *arguments]
        return subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)

    return run


def test_help_lists_every_option(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for option in ("--with", "--cluster", "--namespace", "--image", "--values", "--dry-run"):
        assert option in done.stdout


def test_without_any_of_the_three_it_says_what_to_install(run: Run) -> None:
    done = run("--dry-run", programs=AROUND)
    assert (done.returncode, done.stdout) == (2, "")
    assert "none of minikube, kind and k3d is installed; install one" in done.stderr


@pytest.mark.parametrize(
    ("there", "found", "context"),
    [
        (("k3d", "kind", "minikube"), "minikube", "loomidi"),
        (("k3d", "kind"), "kind", "kind-loomidi"),
        (("k3d",), "k3d", "k3d-loomidi"),
    ],
)
def test_the_first_that_is_there_is_taken(run: Run, there: tuple[str, ...], found: str, context: str) -> None:
    done = run("--dry-run", programs=(*AROUND, *there), failing=("kubectl * get namespace",))
    assert done.returncode == 0, done.stderr
    steps = done.stdout.splitlines()
    loads = [step for step in steps if step.startswith(f"+ {found} ") and ("load" in step or "import" in step)]
    assert len(loads) == 1
    assert steps.index(loads[0]) < len(steps) - 1
    assert f"+ helm upgrade --install loomidi deployments/helm/loomidi --kube-context {context} " in steps[-1]


@pytest.mark.parametrize("found", ["minikube", "kind", "k3d"])
def test_a_cluster_that_is_not_up_is_made_first(run: Run, found: str) -> None:
    down = {"minikube": "minikube status", "kind": "kind get clusters", "k3d": "k3d cluster list"}
    done = run("--dry-run", "--with", found, programs=(*AROUND, found), failing=(down[found],))
    first = {"minikube": "minikube start", "kind": "kind create cluster", "k3d": "k3d cluster create"}
    assert done.stdout.startswith(f"+ {first[found]}")


def test_an_image_that_is_missing_is_built_before_it_is_loaded(run: Run) -> None:
    done = run("--dry-run", programs=(*AROUND, "k3d"), failing=("docker image inspect",))
    steps = [step.split()[1:3] for step in done.stdout.splitlines()]
    assert steps[:3] == [["make", "wheel"], ["docker", "build"], ["k3d", "image"]]


def test_images_of_podman_go_by_an_archive(run: Run) -> None:
    done = run("--dry-run", programs=("helm", "kubectl", "podman", "kind"))
    assert "+ podman save --output " in done.stdout
    assert "+ kind load image-archive --name loomidi " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "programs", "said"),
    [
        (("--with", "docker"), AROUND, "--with docker: use minikube, kind or k3d"),
        (("--with", "kind"), AROUND, "kind is not installed"),
        (("--with",), AROUND, "--with takes a value"),
        (("--wiht", "kind"), AROUND, "unknown option --wiht"),
        ((), ("kubectl", "docker", "kind"), "helm is not installed"),
        ((), ("helm", "docker", "kind"), "kubectl is not installed"),
        ((), ("helm", "kubectl", "kind"), "neither docker nor podman is installed"),
        (("--values", "none.yaml"), (*AROUND, "kind"), "--values none.yaml: no such file"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    run: Run, arguments: tuple[str, ...], programs: tuple[str, ...], said: str
) -> None:
    done = run("--dry-run", *arguments, programs=programs)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_really_runs_what_it_says(run: Run) -> None:
    done = run(programs=(*AROUND, "kind"))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_it_has_no_known_pitfalls() -> None:
    subprocess.run(("shellcheck", str(SCRIPT)), check=True)
