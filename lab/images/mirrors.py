"""Where Debian packages come from: the mirror that this machine's apt already uses, nothing named here.

Called by `building`. In: `apt-get indextargets`, or LOOMIDI_LAB_MIRROR. Out: `Mirror` and the apt settings for work on
another root: our sources, our folders, none of this machine's hooks. Its proxies and credentials stay in force and
never enter an image. Every index is verified with debian-archive-keyring.
"""

import dataclasses
import email.utils
import os
import shutil
import subprocess
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.images import places
from loomidi_lab.images.recipes import SUITE

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TOOLS = {
    "debootstrap": "debootstrap",
    "apt-get": "apt",
    "dpkg": "dpkg",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "chroot": "coreutils",
}
_APT = """#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "{folder}/lists";
APT::Keep-Downloaded-Packages "true";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Mirror:
    """Addresses of one Debian archive and of its security archive, empty where there is none."""

    archive: str
    security: str

    def sources(self) -> str:
        """The sources.list of a build."""
        signed = f"deb [signed-by={KEYRING}]"
        lines = [f"{signed} {self.archive} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]
        lines += [f"{signed} {self.security} {SUITE}-security main"] if self.security else []
        return "\n".join(lines) + "\n"


def check_tools() -> None:
    """Raises EnvironmentLacks, naming the Debian packages that are missing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = {package for tool, package in _TOOLS.items() if not shutil.which(tool, path=path)}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    if missing:
        names = " ".join(sorted(missing))
        raise EnvironmentLacks(f"images need {', '.join(sorted(missing))}; run: apt-get install {names}")


def find() -> Mirror:
    """The mirror of this machine. Raises EnvironmentLacks when apt has no Debian source and none is given."""
    given = os.environ.get("LOOMIDI_LAB_MIRROR", "").split()
    if given:
        return Mirror(given[0].rstrip("/"), given[1].rstrip("/") if len(given) > 1 else "")
    listed = subprocess.run(
        ("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(ORIGIN)", "Created-By: Packages"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return choose(listed.stdout)


def choose(listed: str) -> Mirror:
    """From lines `site release origin`. A mirror of another Debian release serves bookworm too."""
    archive = security = ""
    for line in listed.splitlines():
        site, release, *origin = line.split()
        if not (release.startswith(SUITE) or origin == ["Debian"]) or not site.startswith(("http", "file:")):
            continue
        if release.endswith("-security"):
            security = security or site.rstrip("/")
        elif "-" not in release:
            archive = archive or site.rstrip("/")
    if not archive:
        hint = "set LOOMIDI_LAB_MIRROR to the address of one (a second word: its security archive)"
        raise EnvironmentLacks(f"apt on this machine knows no Debian mirror over http; {hint}")
    return Mirror(archive, security)


def prepare(mirror: Mirror, progress: places.Progress) -> Path:
    """Write apt's settings and renew the package lists; gives the settings. Raises EnvironmentLacks without a list."""
    folder = places.downloads()
    for part in ("lists/partial", "archives/partial", "bootstrap"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(mirror.sources())
    settings = folder / "apt.conf"
    settings.write_text(_APT.format(folder=folder))
    status = folder / "status"
    status.touch()
    command = ("apt-get", "-c", str(settings), "-o", f"Dir::State::status={status}", "-qq", "update")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = done.returncode != 0 or "W:" in done.stderr
    if failed and not newest_s():
        raise EnvironmentLacks(f"apt cannot read {mirror.archive}: {_last(done.stderr)}; see whether it can be reached")
    if failed:
        progress(
            f"images: the mirror does not answer ({_last(done.stderr)}); using the package lists of the last build"
        )
    return settings


def newest_s() -> int:
    """When the archive was last changed, by its signed Release files; no file in an image is dated later."""
    dates = [0]
    for path in (places.downloads() / "lists").glob("*InRelease"):
        with path.open(errors="replace") as lines:
            dates += [_seconds(line) for line in lines if line.startswith("Date:")]
    return max(dates)


def _seconds(line: str) -> int:
    return int(email.utils.parsedate_to_datetime(line.partition(":")[2].strip()).timestamp())


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no word from apt"
