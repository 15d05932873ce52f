"""Loomidi and its locked dependencies as a folder of Python packages, for the image `loomidi`.

Called by `building`. In: the checkout. Out: the wheel, built from it, and its dependencies by hash, unpacked below
/opt/loomidi. Runs this Python's own pip and build: nothing of them enters the image.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi_lab.images.places import CHECKOUT

TARGET = "/opt/loomidi"
PYTHON = "3.11"  # of Debian bookworm
_SOURCES = ("src/loomidi", "bpf", "rules", "pyproject.toml", "hatch_build.py", "requirements-image.lock")
PROGRAM = "nats-server"  # of bin/; the rest there are scripts that name this machine's Python
_LEFT = ("__pycache__", "build", "native")


def digest() -> str:
    """Of all that goes into the wheel. Raises EnvironmentLacks outside a checkout."""
    sha256 = hashlib.sha256()
    for path in _sources():
        sha256.update(f"{path.relative_to(CHECKOUT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return sha256.hexdigest()


def _sources() -> Iterator[Path]:
    for name in _SOURCES:
        start = CHECKOUT / name
        if not start.exists():
            raise EnvironmentLacks(f"the image `loomidi` is built from a checkout, and {start} is missing")
        for path in sorted(start.rglob("*")) if start.is_dir() else (start,):
            if path.is_file() and not any(part in _LEFT for part in path.relative_to(CHECKOUT).parts):
                yield path


def install(files: Path, work: Path) -> None:
    """Put the checkout's wheel and its dependencies below `files`. Raises Retryable, EnvironmentLacks."""
    dist = work / "dist"
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(CHECKOUT))
    _run(build, "build the wheel", "run `make setup`")
    wheels = sorted(dist.glob("*.whl"))
    target = files / TARGET.lstrip("/")
    pip = (
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--python-version", PYTHON, "--only-binary", ":all:", "--no-deps", "--target", str(target)),
    )
    _run((*pip, *map(str, wheels)), "install the wheel")
    locked = ("--upgrade", "--require-hashes", "-r", str(CHECKOUT / "requirements-image.lock"))
    _run((*pip, *locked), "fetch the locked dependencies")  # last: bin/ is that of the last installation
    for path in (*target.glob("bin/*"), *wheels):
        if path.name != PROGRAM:
            path.unlink()
    dist.rmdir()


def _run(command: Sequence[str], what: str, hint: str = "try again") -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    words = (done.stderr or done.stdout).strip().splitlines() or ["no word of why"]
    if "No module named" in words[-1]:
        raise EnvironmentLacks(f"cannot {what}: {words[-1]}; {hint}")
    raise Retryable(f"cannot {what}: {words[-1][:200]}; {hint}")
