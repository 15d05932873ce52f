"""The configuration file: read, printed, overlaid by the environment, refused in one line."""

import dataclasses
import enum
from pathlib import Path

import pytest

from loomidi.kit import configuring
from loomidi.kit.settings import BadSetting


class Kind(enum.StrEnum):
    """Of something."""

    LOCAL = "local"
    FAR = "far"


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """Where it listens."""

    port: int = 1
    # TCP.
    ca: Path | None = None
    # Of clients; none.


@dataclasses.dataclass(frozen=True, slots=True)
class Bus:
    """Where batches travel."""

    url: str = ""
    # Empty: our own server.
    # Else its address.
    port: int = 4222
    # TCP.
    wait_s: float = 1.0
    # Seconds.
    names: tuple[str, ...] = ("a", "b")
    # Several.
    folder: Path = Path("state")
    # Of files.
    kind: Kind = Kind.LOCAL
    # Which one.
    on: bool = False
    # Whether.
    door: Door = dataclasses.field(default_factory=lambda: Door(port=7))
    # Its door.

    def __post_init__(self) -> None:
        if self.wait_s < 0:
            raise ValueError("wait_s is below 0")


@dataclasses.dataclass(frozen=True, slots=True)
class All:
    """All groups."""

    bus: Bus = dataclasses.field(default_factory=Bus)


def test_what_the_file_leaves_out_keeps_its_default() -> None:
    settings = configuring.parse(All, '[bus]\nport = 5000\nwait_s = 2\nnames = ["x"]\nkind = "far"', "f.toml")
    assert settings == All(Bus(port=5000, wait_s=2.0, names=("x",), kind=Kind.FAR))


def test_a_printed_file_reads_back_to_the_same_settings() -> None:
    settings = All(Bus(url='q"uote\\', names=(), folder=Path("/var/x"), on=True))
    assert configuring.parse(All, configuring.printed(settings), "f.toml") == settings


def test_a_printed_file_says_what_each_field_is() -> None:
    lines = configuring.printed(All()).splitlines()
    at = lines.index('url = ""')
    assert lines[at - 4 : at] == ["# Where batches travel.", "[bus]", "# Empty: our own server.", "# Else its address."]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[bus", "f.toml: not TOML"),
        ("[buss]", "there is no setting buss; did you mean bus?"),
        ("[bus]\nprot = 1", "there is no setting bus.prot; did you mean port?"),
        ("[bus]\nport = 'x'", "bus.port is 'x'; it takes a whole number"),
        ("[bus]\nport = true", "bus.port is True; it takes a whole number"),
        ("[bus]\nnames = 'x'", "bus.names is 'x'; it takes a list"),
        ("[bus]\nkind = 'near'", "bus.kind is 'near'; it takes one of local, far"),
        ("bus = 1", "bus is a group; write it as [bus]"),
        ("[bus]\nwait_s = -1", "wait_s is below 0"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(text: str, says: str) -> None:
    with pytest.raises(BadSetting) as caught:
        configuring.parse(All, text, "f.toml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text("[bus]\nport = 1\n")
    given = {"LOOMIDI_BUS_PORT": "2", "LOOMIDI_BUS_NAMES": "x, y", "LOOMIDI_BUS_ON": "1", "LOOMIDI_BUS_KIND": "far"}
    settings = configuring.read(All, tmp_path / "f.toml", given)
    assert settings == All(Bus(port=2, names=("x", "y"), on=True, kind=Kind.FAR))


def test_a_file_that_is_not_there_is_told_with_how_to_have_one(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="--print-config"):
        configuring.read(All, tmp_path / "none.toml", {})


def test_a_group_within_a_group_keeps_what_its_group_gives_it() -> None:
    settings = configuring.parse(All, '[bus.door]\nca = "x.pem"', "f.toml")
    assert settings.bus.door == Door(port=7, ca=Path("x.pem"))
    assert configuring.overlaid(All(), {"LOOMIDI_BUS_DOOR_PORT": "9"}).bus.door.port == 9
    assert configuring.parse(All, configuring.printed(settings), "f.toml") == settings
