"""Reading back and comparing: streams are lazy, windows cut, labels are the truth; only measured values may differ."""

from pathlib import Path

import pytest

import loomidi_lab
from loomidi.contracts.errors import InputError
from loomidi_lab.recording.comparing import compare
from loomidi_lab.recording.loading import Recording
from tests.unit.lab.recording.making import BEGIN, S, edit, recording, rewrite


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return recording(tmp_path / "made")


def differences(one: Path, other: Path) -> dict[str, str]:
    return {check.name: check.text for check in compare(one, other) if not check.passed}


def test_streams_are_datasets_and_a_window_cuts_them(made: Path) -> None:
    found = loomidi_lab.load(made)
    assert isinstance(found, Recording)
    assert found.traces.count_rows() == 2
    assert found.flows.head(1)["pod"].to_pylist() == ["cart-1"]
    assert found.window(BEGIN, BEGIN + S).traces.count_rows() == 0
    assert found.window(BEGIN, BEGIN + 2 * S).traces.count_rows() == 2


def test_who_had_an_address_can_be_asked(made: Path) -> None:
    answer = loomidi_lab.load(made).entity_at("10.0.0.5", BEGIN + S)
    assert answer is not None
    assert answer.row["name"] == "cart-1"


def test_labels_are_intervals_per_entity_without_void_runs(made: Path) -> None:
    labels = loomidi_lab.load(made).labels().to_pylist()
    assert [(row["occurrence"], row["role"], row["name"], row["address"]) for row in labels] == [
        (0, "victim", "cart", "1.2.3.4"),
        (1, "victim", "cart", "1.2.3.4"),
    ]
    assert all(row["end_ns"] > row["start_ns"] for row in labels)
    edit(made, "truth.json", lambda found: found["measured"][0].update(valid=False))
    assert loomidi_lab.load(made).labels()["occurrence"].to_pylist() == [1]


def test_quiet_spans_and_the_summary_are_given(made: Path) -> None:
    found = loomidi_lab.load(made)
    assert found.quiet() == [(BEGIN, BEGIN + 20 * S)]
    assert found.summary()["rows"]["traces"] == 2
    assert found.summary()["occurrences"] == {"attack": 2, "failure": 0, "benign": 0}


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recording"):
        loomidi_lab.load(tmp_path)
    with pytest.raises(InputError, match="there is no stream 'flow'"):
        loomidi_lab.load(recording(tmp_path / "made")).stream("flow")


def test_two_recordings_of_one_seed_differ_in_measured_values_only(made: Path, tmp_path: Path) -> None:
    later = recording(tmp_path / "later", begin=BEGIN + 1000 * S)
    assert differences(made, later) == {}


def test_another_seed_is_told_by_the_first_place_that_differs(made: Path, tmp_path: Path) -> None:
    found = differences(made, recording(tmp_path / "other", seed=8))
    assert found["plan and seed"] == "differ: seed: 7 here, 8 there"
    assert {"schedule", "planned truth"} <= set(found)


def test_other_files_and_other_columns_are_told(made: Path, tmp_path: Path) -> None:
    other = recording(tmp_path / "other")
    (other / "pcap").mkdir()
    (other / "pcap" / "n1.pcap").write_bytes(b"")
    rewrite(other, "logs", lambda table: table.drop(["line"]))
    assert {"files", "columns"} <= set(differences(made, other))
