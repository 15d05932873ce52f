"""Servers that the tests start and that Go compiles, once each, into the user's cache.

`python -m tests.built`, which `make test` calls, compiles what is missing before the first test begins: beside running
tests it would take their time. A test that needs one asks for it by `program`, and is skipped with the reason where
there is no Go or the build fails.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

BUILD_S = 1800.0


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """One command of a Go module at one version."""

    module: str
    version: str

    @property
    def name(self) -> str:
        """Of the module and of the file that is built."""
        return self.module.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where it lies once it is built."""
        return Path.home() / ".cache" / "loomidi" / f"{self.name}-{self.version}" / self.name

    def build(self) -> str:
        """Compile it unless it is there; why not, or ''. Two at a time do no harm: each moves a whole folder there."""
        if self.path.is_file():
            return ""
        if (go := shutil.which("go")) is None:
            return f"{self.name} {self.version} is not built and there is no Go to build it"
        self.path.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent.parent) as folder:
            made = Path(folder) / "bin"
            built = subprocess.run(
                [go, "install", f"{self.module}@{self.version}"],
                env=os.environ | {"GOBIN": str(made)},
                capture_output=True,
                text=True,
                timeout=BUILD_S,
                check=False,
            )
            if built.returncode:
                return f"{self.name} {self.version} cannot be built here: {built.stderr.strip().splitlines()[-1:]}"
            with contextlib.suppress(OSError):  # somebody else was sooner
                made.rename(self.path.parent)
        return ""


MINIO = Program("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
OPA = Program("github.com/open-policy-agent/opa", "v1.22.2")


def program(one: Program) -> Path:
    """The file; skips the test that asks when it is not to be had."""
    if why := one.build():
        pytest.skip(why)
    return one.path


if __name__ == "__main__":
    for wanted in (OPA, MINIO):
        if not wanted.path.is_file():
            print(f"{wanted.name} {wanted.version}: being compiled, once", flush=True)
        if told := wanted.build():
            print(f"{told}; its tests are skipped", file=sys.stderr)
