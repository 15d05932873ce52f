"""What the operator's process is put together from."""

from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks, Mode
from loomidi.services.operating import OperatorSettings, _deciders, _key, serve
from tests.unit.ionic.acting import SIGNER


def test_nothing_is_touched_unless_a_mode_is_asked_for() -> None:
    assert OperatorSettings().mode is Mode.SHADOW


def test_a_key_that_is_short_or_missing_is_refused(tmp_path: Path) -> None:
    short, good = tmp_path / "short", tmp_path / "good"
    short.write_bytes(b"x" * 31 + b"\n")
    good.write_bytes(b"x" * 32 + b"\n")
    with pytest.raises(EnvironmentLacks, match="31 octets; give at least 32"):
        _key(short)
    with pytest.raises(EnvironmentLacks, match="name a file"):
        _key(tmp_path / "none")
    assert (_key(good), _key(None)) == (b"x" * 32, None)


def test_guards_are_made_once_for_each_mode() -> None:
    deciders = _deciders((), SIGNER, dict)
    assert deciders(Mode.GUARDED) is deciders(Mode.GUARDED)
    assert deciders(Mode.GUARDED).settings.mode is Mode.GUARDED


def test_it_does_not_start_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="cannot be used as kubeconfig"):
        serve(OperatorSettings(kubeconfig=tmp_path / "none"), {}, print)
