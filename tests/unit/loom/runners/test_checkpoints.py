"""Files that are whole or not there."""

from pathlib import Path

import pytest

from loomidi.contracts.errors import InputError
from loomidi.loom.runners.checkpoints import Checkpoints, Decision


def decision(to_ns: int) -> Decision:
    return Decision({"flows": {0: to_ns}, "metrics": {}}, to_ns)


def reloaded(folder: Path) -> tuple[bytes | None, list[Decision], list[str]]:
    checkpoints = Checkpoints(folder)
    state, decisions = checkpoints.load()
    checkpoints.close()
    return state, decisions, checkpoints.problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two snapshots, a decision after each of them."""
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2):
        checkpoints.save(b"state %d" % number)
        checkpoints.decide(decision(number))
    checkpoints.close()
    return tmp_path


def test_the_newest_snapshot_with_what_was_decided_since(folder: Path) -> None:
    assert reloaded(folder) == (b"state 2", [decision(2)], [])


def test_a_folder_without_a_snapshot_begins_anew(tmp_path: Path) -> None:
    assert reloaded(tmp_path) == (None, [], [])


def test_a_spoiled_snapshot_costs_a_replay_not_the_state(folder: Path) -> None:
    spoiled = folder / "snapshot-00000002"
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"x")
    state, decisions, problems = reloaded(folder)
    assert (state, decisions) == (b"state 1", [decision(1), decision(2)])
    assert "snapshot-00000002: is cut off or spoiled" in problems[0]


def test_without_any_whole_snapshot_it_says_what_to_do(folder: Path) -> None:
    for path in folder.glob("snapshot-*"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match="move it away to begin anew"):
        reloaded(folder)


def test_a_decision_cut_off_by_a_crash_was_not_taken(folder: Path) -> None:
    journal = folder / "journal-00000002"
    checkpoints = Checkpoints(folder)
    checkpoints.decide(decision(3))
    checkpoints.close()
    journal.write_bytes(journal.read_bytes()[:-5])
    assert reloaded(folder)[1] == [decision(2)]


def test_decisions_after_one_that_was_cut_off_are_found(folder: Path) -> None:
    journal = folder / "journal-00000002"
    journal.write_bytes(journal.read_bytes() + b"LWS1 half of a record")
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    checkpoints.decide(decision(3))
    checkpoints.close()
    assert reloaded(folder)[1] == [decision(2), decision(3)]


def test_two_generations_are_kept(folder: Path) -> None:
    checkpoints = Checkpoints(folder)
    checkpoints.save(b"state 3")
    checkpoints.close()
    assert sorted(path.name for path in folder.glob("[sj]*-*")) == [
        "journal-00000002", "snapshot-00000002", "snapshot-00000003"
    ]  # fmt: skip
