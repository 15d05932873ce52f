"""Where the data folders are that travel with the code: `rules` and the like.

Called by whoever reads them. In a wheel they lie inside the package, in a checkout at its root (pyproject.toml has
the list).
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
CHECKOUT = PACKAGE.parent.parent


def shipped(name: str) -> Path:
    """The path of a shipped file or folder, such as "rules". Raises FileNotFoundError when it is absent."""
    for root in (PACKAGE, CHECKOUT):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(2, "this installation lacks it; reinstall loomidi", name)
