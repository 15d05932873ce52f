"""Root file systems: a bare Debian by debootstrap, and what an image adds to its parent as an overlay's upper folder.

Called by `building`. In: apt's settings, packages, laid-out files. Out: a folder of differences. All work is done in
mount and process namespaces that die with this process, so that nothing stays mounted, whatever happens.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loomidi.contracts.errors import Retryable
from loomidi_lab.images import places
from loomidi_lab.images.mirrors import KEYRING, Mirror
from loomidi_lab.images.recipes import SUITE, Recipe

_LIMIT_S = 900
_CONFINED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
)
_SLIM = """# Images hold no manuals and no translations; licences stay.
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
"""
_NO_SOURCES = "# Written by loomidi-lab: pods of a lab have no way to a mirror; add sources to install more.\n"


def bootstrap(mirror: Mirror, work: Path, log: Path, newest_s: int) -> Path:
    """A bare Debian in `work/upper`. Raises Retryable when debootstrap fails."""
    root = work / "upper"
    command = [
        *_CONFINED,
        *("debootstrap", "--variant=minbase", f"--keyring={KEYRING}"),
        f"--cache-dir={places.downloads() / 'bootstrap'}",
        *(SUITE, str(root), mirror.archive),
    ]
    _run(command, work, log, newest_s)
    _slim(root)
    listing = ("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\\n")
    _packages(work, subprocess.run(listing, capture_output=True, text=True, check=True).stdout)
    return root


def extend(recipe: Recipe, lower: Sequence[Path], settings: Path, work: Path, *, log: Path, newest_s: int) -> Path:
    """What a recipe adds to its parents, uppermost first, in `work/upper`; `work` holds its `before` and `files`.

    Raises Retryable when a package cannot be installed.
    """
    users = "".join(f"{user.name} {user.number} {user.home}\n" for user in recipe.users)
    (work / "users").write_text(users)
    (work / "commands").write_text("".join(f"{line}\n" for line in recipe.commands))
    layers = ":".join(
        os.path.relpath(folder, work) for folder in lower
    )  # short, and free of colons in the cache's path
    command = [
        *(*_CONFINED, "sh", str(places.PACKAGE / "inside.sh")),
        *(layers, "upper", "overlay", str(places.downloads() / "archives"), str(log)),
        *("before", "files", str(settings), "users", "commands"),
        *recipe.packages,
    ]
    _run(command, work, log, newest_s)
    _packages(work, (work / "packages").read_text())
    for name in ("overlay", "merged", "before", "files"):
        shutil.rmtree(work / name)
    for name in ("users", "commands", "packages"):
        (work / name).unlink()
    return work / "upper"


def _run(command: Sequence[str], work: Path, log: Path, newest_s: int) -> None:
    """Raises Retryable with the last words of the log, which is named after the image."""
    name = log.stem
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(newest_s)}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as words:
        try:
            code = subprocess.run(
                command, cwd=work, env=environment, stdin=subprocess.DEVNULL,
                stdout=words, stderr=subprocess.STDOUT, timeout=_LIMIT_S, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Retryable(f"image {name}: not done after {_LIMIT_S} s; see {log}, then build again") from None
    if code:
        raise Retryable(f"image {name} cannot be built: {last_words(log)}; see {log}, then build again")


def last_words(log: Path) -> str:
    """Why it failed, in one line: apt's and debootstrap's errors begin with E:."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or ["no word of why"])[-1][:200]


def _slim(root: Path) -> None:
    """Remove what differs from run to run, and what an image does not need."""
    share = root / "usr" / "share"
    for folder in ("man", "info", "locale", "lintian"):
        _empty(share / folder)
    for path in (share / "doc").rglob("*"):
        if path.name != "copyright" and not path.is_dir():
            path.unlink()
    for folder in ("var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/log", "var/lib/apt/lists"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                path.unlink()
    for name in ("hostname", "resolv.conf"):
        (root / "etc" / name).unlink(missing_ok=True)
    for path in (*(root / "var/lib/dpkg").glob("*-old"), *(root / "etc").glob("*-")):
        path.unlink()
    (root / "etc" / "machine-id").write_text("")
    (root / "etc" / "apt" / "sources.list").write_text(_NO_SOURCES)
    (root / "etc" / "dpkg" / "dpkg.cfg.d" / "loomidi-lab").write_text(_SLIM)


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _packages(work: Path, listing: str) -> None:
    found = dict(line.split() for line in listing.splitlines())
    (work / "packages.json").write_text(json.dumps(dict(sorted(found.items())), indent=1))
