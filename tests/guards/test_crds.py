"""The committed resource definitions are what the contracts say."""

from tools import crds


def test_the_committed_definitions_are_those_that_are_generated() -> None:
    assert {path: path.read_text() for path in crds.FOLDER.iterdir()} == crds.rendered(), "run: make docs"


def test_generating_twice_gives_the_same_bytes() -> None:
    assert crds.rendered() == crds.rendered()
