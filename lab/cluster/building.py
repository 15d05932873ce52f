"""Build the lab's binaries from the Go module proxy, once per version: resumable, with progress.

Called by `loomidi-lab build`. In: the modules of `tools`. Out: binaries in the cache. Go keeps what it compiled, so a
build that was broken off goes on where it was; a binary appears under its name only when it is whole.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi_lab.cluster import tools
from loomidi_lab.cluster.places import cache
from loomidi_lab.cluster.tools import Module
from loomidi_lab.images import pausing

Progress = Callable[[str], object]
_LEAST = (1, 26)
_DISK_GB = 5.0
_TELL_S = 5.0


def build(wanted: Sequence[str] = (), *, progress: Progress = print) -> None:
    """All that a lab needs, and the optional modules that are named. Raises EnvironmentLacks, Retryable."""
    modules = [m for m in tools.MODULES.values() if not m.optional or m.name in wanted]
    given = tools.assets()
    todo = [(m, [name for name in m.missing() if name not in given]) for m in modules]
    todo = [(module, names) for module, names in todo if names]
    if todo:
        check_go()
        check_disk(cache())
    for module, names in todo:
        _build(module, names, progress)
    pausing.compiled(progress)


def pause() -> Path:
    """The static binary that holds a node and a pod's sandbox."""
    return pausing.binary()


def check_go() -> None:
    """Raises EnvironmentLacks when Go is missing or too old."""
    least = ".".join(map(str, _LEAST))
    if not shutil.which("go"):
        raise EnvironmentLacks(f"Go is missing: the lab builds Kubernetes from source; install Go {least} or newer")
    version = subprocess.run(("go", "env", "GOVERSION"), capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found or tuple(map(int, found.groups())) < _LEAST:
        raise EnvironmentLacks(f"{version or 'this Go'} is too old: the lab needs Go {least} or newer; install it")


def check_disk(folder: Path, least_gb: float = _DISK_GB) -> None:
    """Raises EnvironmentLacks when less than 5 GB are free where the lab keeps things."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < least_gb:
        hint = "free some, or name another place with LOOMIDI_LAB_CACHE"
        raise EnvironmentLacks(f"{folder} has {free:.1f} GB free, the lab needs {least_gb:g} GB; {hint}")


def sources(module: Module) -> Path:
    """A module's source tree in Go's module cache, verified by its sum. Raises EnvironmentLacks."""
    command = ("go", "mod", "download", "-json", f"{module.requires}@{module.version}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=module.folder)
    if done.returncode:
        words = " ".join(done.stderr.split())[:200]
        raise EnvironmentLacks(f"the sources of {module.name} cannot be had: {words}; run `loomidi-lab build` again")
    return Path(json.loads(done.stdout)["Dir"])


def _build(module: Module, names: Sequence[str], progress: Progress) -> None:
    module.home.mkdir(parents=True, exist_ok=True)
    partial = module.home / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    source = module.home / "src"  # a copy: the build may not touch the checkout
    source.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copy(module.folder / name, source / name)
    started = time.monotonic()
    for name in names:
        partial.mkdir()
        _go_build(module, name, partial, progress)
        (partial / name).rename(module.path(name))
        shutil.rmtree(partial)
    progress(f"{module.name} {module.version}: built in {time.monotonic() - started:.0f} s")


def _go_build(module: Module, name: str, partial: Path, progress: Progress) -> None:
    """Run `go build -v`, telling how many packages are done. Raises Retryable with the compiler's last words."""
    command = [
        *("go", "build", "-v", "-mod=readonly", "-trimpath", f"-ldflags=-s -w {linking(module)}".rstrip()),
        *("-o", str(partial / name), module.commands[name]),
    ]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    words: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(
        command, cwd=module.home / "src", env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stderr or ():
            words.append(line.rstrip())
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                progress(f"{module.name} {module.version}: {name}, {len(words)} packages compiled or fetched")
    if process.returncode:
        last = "; ".join(words[-3:])
        raise Retryable(f"building {name} failed: {last}; run `loomidi-lab build` again, it goes on where it was")


def linking(module: Module) -> str:
    """The linker flags with the version filled in: a bare build calls itself v0.0.0."""
    bare = module.version.removeprefix("v")
    major, minor, *_ = bare.split(".")
    return module.linking.format(version=module.version, bare=bare, major=major, minor=minor)
