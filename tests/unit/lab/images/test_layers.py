"""A folder of differences becomes a layer that says the same to every runtime, byte for byte."""

import hashlib
import os
import socket
import tarfile
from pathlib import Path

import pytest

from loomidi_lab.images import layers

NEWEST_S = 1_700_000_000


def members(folder: Path, tmp_path: Path, newest_s: int = NEWEST_S) -> dict[str, tarfile.TarInfo]:
    layers.write(folder, tmp_path / "layer.tar", newest_s)
    with tarfile.open(tmp_path / "layer.tar") as tar:
        return {entry.name: entry for entry in tar.getmembers()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "upper"
    (made / "usr" / "bin").mkdir(parents=True)
    return made


def test_a_deleted_file_becomes_a_whiteout(folder: Path, tmp_path: Path) -> None:
    os.mknod(folder / "usr" / "gone", 0o20000, os.makedev(0, 0))
    found = members(folder, tmp_path)
    assert "usr/gone" not in found
    assert found["usr/.wh.gone"].isreg()
    assert found["usr/.wh.gone"].size == 0


def test_a_file_deleted_at_the_top_becomes_a_whiteout_there(folder: Path, tmp_path: Path) -> None:
    os.mknod(folder / "gone", 0o20000, os.makedev(0, 0))
    assert ".wh.gone" in members(folder, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: overlayfs marks by trusted attributes")
def test_a_replaced_folder_hides_what_lay_below_and_keeps_the_mark_to_itself(folder: Path, tmp_path: Path) -> None:
    os.setxattr(folder / "usr" / "bin", "trusted.overlay.opaque", b"y")
    (folder / "usr" / "bin" / "new").write_text("x")
    found = members(folder, tmp_path)
    names = list(found)
    assert names.index("usr/bin") < names.index("usr/bin/.wh..wh..opq") < names.index("usr/bin/new")
    assert not any("trusted" in header for entry in found.values() for header in entry.pax_headers)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sets owners, devices and a capability")
def test_owners_bits_devices_and_capabilities_are_kept(folder: Path, tmp_path: Path) -> None:
    tool = folder / "usr" / "bin" / "tool"
    tool.write_bytes(b"x")
    os.chown(tool, 33, 44)
    tool.chmod(0o4755)
    capability = bytes.fromhex("0100000200200000ff00000000000000000000f0")  # not UTF-8
    os.setxattr(tool, "security.capability", capability)
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    found = members(folder, tmp_path)
    entry = found["usr/bin/tool"]
    assert (entry.uid, entry.gid, entry.mode) == (33, 44, 0o4755)
    assert entry.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == os.getxattr(
        tool, "security.capability"
    )
    assert (found["null"].ischr(), found["null"].devmajor, found["null"].devminor) == (True, 1, 3)


def test_two_names_of_a_file_stay_one_file(folder: Path, tmp_path: Path) -> None:
    (folder / "usr" / "bin" / "a").write_text("content")
    (folder / "usr" / "bin" / "b").hardlink_to(folder / "usr" / "bin" / "a")
    found = members(folder, tmp_path)
    assert found["usr/bin/a"].isreg()
    assert found["usr/bin/b"].islnk()
    assert found["usr/bin/b"].linkname == "usr/bin/a"


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "bin").symlink_to("usr/bin")
    (folder / "broken").symlink_to("/nowhere")
    found = members(folder, tmp_path)
    assert found["bin"].linkname == "usr/bin"
    assert found["broken"].linkname == "/nowhere"
    assert "bin/x" not in found


def test_dates_are_cut_at_the_newest_and_older_ones_kept(folder: Path, tmp_path: Path) -> None:
    for name, date in (("new", NEWEST_S + 5), ("old", NEWEST_S - 5)):
        (folder / name).write_text("")
        os.utime(folder / name, (date, date))
    found = members(folder, tmp_path)
    assert found["new"].mtime == NEWEST_S
    assert found["old"].mtime == NEWEST_S - 5


def test_the_same_content_gives_the_same_digest_whatever_the_order_of_making(tmp_path: Path) -> None:
    digests = []
    for number, names in enumerate((("a", "b", "c"), ("c", "a", "b"))):
        made = tmp_path / str(number)
        made.mkdir()
        for name in names:
            (made / name).write_text(name)
        digests.append(layers.write(made, tmp_path / "layer.tar", NEWEST_S).digest)
    assert digests[0] == digests[1]


def test_what_the_runtime_gives_is_left_out_and_a_socket_is_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "dev").mkdir()
    (folder / "dev" / "null").write_text("")
    (folder / "usr" / "dev").mkdir()
    (folder / "usr" / "dev" / "kept").write_text("")
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("talk")
    layer = layers.write(folder, tmp_path / "layer.tar", NEWEST_S)
    with tarfile.open(layer.path) as tar:
        names = tar.getnames()
    assert "dev" in names
    assert "dev/null" not in names
    assert "usr/dev/kept" in names
    assert layer.left_out == {"socket": 1}


def test_size_and_digest_are_those_of_the_file(folder: Path, tmp_path: Path) -> None:
    layer = layers.write(folder, tmp_path / "layer.tar", NEWEST_S)
    content = layer.path.read_bytes()
    assert layer.size_bytes == len(content)
    assert layer.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
