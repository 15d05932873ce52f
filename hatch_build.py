"""Build hook: compile the native parts and tag the wheel for this platform.

Called by hatchling. Runs `make -C bpf` and leaves its outputs (one shared library, the BPF objects) to the
`artifacts` of pyproject.toml. Python reaches the library by ctypes, so one wheel serves every Python 3: the tag is
py3-none-<platform>. An editable install skips this: `make setup` builds in place.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src/loomidi/loom/native")
SHIPPED = ("rules",)  # data folders at the root that go into the package
EXPECTED = ("libloomidi.so", "shield.bpf.o", "shield_inner.bpf.o", "cut.bpf.o", "generate.bpf.o")


class NativeBuildHook(BuildHookInterface[Any]):
    """Compiles before the wheel is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the native parts; refuse to pack a wheel without them."""
        if version == "editable":
            return
        root = Path(self.root)
        subprocess.run([os.environ.get("MAKE", "make"), "-s", "-C", "bpf"], cwd=root, check=True)
        missing = [name for name in EXPECTED if not (root / NATIVE / name).is_file()]
        if missing:
            message = f"`make -C bpf` left out {', '.join(missing)}; run tools/install_ebpf_deps.sh, then try again"
            raise RuntimeError(message)
        build_data["force_include"].update({str(root / name): f"loomidi/{name}" for name in SHIPPED})
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
