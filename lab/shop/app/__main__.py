"""`python3 /app SERVICE`: the container's command.

A pod holds the files of this folder and nothing else of the checkout, so the package gets its full name here before
anything of it is imported: one absolute name per module, in pods, in tests and for the type checker.
"""

import importlib
import sys
import types
from pathlib import Path

PACKAGE = "loomidi_lab.shop.app"


def _named() -> None:
    """Make this folder importable under its full name without the packages above it."""
    if PACKAGE in sys.modules:
        return
    parts = PACKAGE.split(".")
    for depth in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:depth]))
        module.__path__ = [str(Path(__file__).resolve().parent)] if depth == len(parts) else []
        sys.modules[module.__name__] = module


if __name__ == "__main__":
    _named()
    sys.exit(importlib.import_module(f"{PACKAGE}.starting").main(sys.argv[1:]))
