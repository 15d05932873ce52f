"""Packages come from the mirror that apt uses already, verified, and nothing of this machine's settings is lost."""

from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.images import mirrors

LISTED = """http://deb.example/debian/ bookworm Debian
http://deb.example/debian/ bookworm-updates Debian
http://security.example/debian-security bookworm-security Debian
https://other.example/apt stable
"""


def test_the_mirror_of_the_release_and_its_security_archive_are_found() -> None:
    assert mirrors.choose(LISTED) == mirrors.Mirror(
        "http://deb.example/debian", "http://security.example/debian-security"
    )


def test_a_mirror_of_another_debian_release_serves_too() -> None:
    assert mirrors.choose("https://deb.example/debian trixie Debian").archive == "https://deb.example/debian"


@pytest.mark.parametrize("listed", ["", "http://x.example/ubuntu jammy Ubuntu", "cdrom:[disc] bookworm Debian"])
def test_without_a_debian_mirror_the_message_says_how_to_name_one(listed: str) -> None:
    with pytest.raises(EnvironmentLacks, match="set LOOMIDI_LAB_MIRROR"):
        mirrors.choose(listed)


def test_a_given_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMIDI_LAB_MIRROR", "http://mine.example/debian/ http://mine.example/security")
    assert mirrors.find() == mirrors.Mirror("http://mine.example/debian", "http://mine.example/security")


def test_every_source_is_verified_with_debians_keys() -> None:
    sources = mirrors.choose(LISTED).sources().splitlines()
    assert len(sources) == 3
    assert all(f"[signed-by={mirrors.KEYRING}]" in line for line in sources)


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool, path="": None if tool == "debootstrap" else f"/usr/bin/{tool}")
    monkeypatch.setattr(mirrors, "KEYRING", Path("/nowhere"))
    with pytest.raises(EnvironmentLacks, match="apt-get install debian-archive-keyring debootstrap"):
        mirrors.check_tools()
