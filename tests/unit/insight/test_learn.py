"""Drift asks for a training and promotes nothing; outcomes become labels with their provenance and a hold-out."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts import Receipt, Step
from loomidi.contracts.schemas import LABELS
from loomidi.insight.learn import Drift, Requests, Word, alarm_drift, feature_drift, held_out, keep, labels_of, psi
from loomidi.loom.lake import Lake, LakeSettings
from loomidi.services.anomalies.modelling import known_of
from tests.unit.ionic.making import a_plan

NAMES = ("a", "b", "c", "d", "e_total")


def rows(count: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).exponential(size=(count, len(NAMES))) * scale).astype(np.float32)


def test_psi_is_near_nothing_for_one_population_and_large_for_another() -> None:
    first = rows(20_000, 1)[:, 0]
    assert psi(first, rows(20_000, 2)[:, 0]) < 0.01
    assert psi(first, rows(20_000, 2, 4.0)[:, 0]) > 0.5


def test_psi_by_hand() -> None:
    """Halves of 50/50 become 80/20: 0.3 ln 1.6 + (-0.3) ln 0.4."""
    reference, now = np.array([0, 1] * 50, np.float32), np.array([0] * 80 + [1] * 20, np.float32)
    assert psi(reference, now, bins=2) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert psi(reference, np.zeros(0, np.float32)) == 0.0


def test_features_drift_when_enough_of_them_do() -> None:
    same, figures = feature_drift(rows(5000, 1), rows(5000, 2), NAMES)
    assert same == []
    assert set(figures) == set(NAMES)
    moved, _ = feature_drift(rows(5000, 1), rows(5000, 2, 5.0), NAMES)
    assert {drift.what for drift in moved} == {"a", "b", "c", "d"}  # a total grows by design
    two = rows(5000, 2)
    two[:, :2] *= 5.0
    assert feature_drift(rows(5000, 1), two, NAMES)[0] == []


def test_alarms_drift_only_far_from_what_was_calibrated() -> None:
    assert alarm_drift(12, 10_000, 1e-3) == []
    assert alarm_drift(3, 100, 1e-3)[0].kind == "alarms"
    assert [one.what for one in alarm_drift(200, 10_000, 1e-3)] == ["more than calibrated"]
    assert [one.what for one in alarm_drift(1, 100_000, 1e-3)] == ["fewer than calibrated"]


def test_a_drift_asks_once_until_a_training_answers(tmp_path: Path) -> None:
    requests, drift = Requests(tmp_path), Drift("alarms", "more than calibrated", 9.0, 5.0)
    assert requests.ask("m1", "edges", "42", [], 1) is None
    asked = requests.ask("m1", "edges", "42", [drift], 1)
    assert asked is not None
    assert asked.because == ("alarms: more than calibrated 9, limit 5",)
    assert requests.ask("m1", "edges", "42", [drift], 2) is None
    assert requests.answer("edges", "run-7", 3) == 1
    assert Requests(tmp_path).open() == []
    assert requests.ask("m1", "edges", "42", [drift], 4) is not None


def told(*steps: tuple[Step, str], approver: str = "guards") -> list[Receipt]:
    """Receipts of one plan."""
    plan = a_plan()
    detail = {"plan": plan.as_dict(), "approval": {"approver": approver}}
    return [
        Receipt(f"r{at}", plan.id, step, 1000 + at, "shield", {}, (detail if at == 0 else {}) | {"why": why}, "")
        for at, (step, why) in enumerate(steps)
    ]


def plain(labels: pa.RecordBatch) -> list[dict[str, Any]]:
    """Without the times: one in ns is no datetime."""
    return labels.drop_columns(["told", "first", "last"]).to_pylist()


BEGUN = ((Step.INTENT, ""), (Step.APPLIED, ""))


@pytest.mark.parametrize(
    ("end", "approver", "outcome", "attack"),
    [
        (((Step.VERIFIED, ""), (Step.EXPIRED, "")), "guards", "worked", None),
        (((Step.VERIFIED, ""), (Step.EXPIRED, "")), "ada", "worked", True),
        (((Step.EXPIRED, ""),), "ada", "expired", None),
        (((Step.UNDONE, "it does not hold"),), "ada", "no_effect", None),
        (((Step.VERIFIED, ""), (Step.UNDONE, "asked to")), "ada", "undone", None),
    ],
)
def test_an_outcome_is_a_label_with_its_provenance(
    end: tuple[tuple[Step, str], ...], approver: str, outcome: str, attack: bool | None
) -> None:
    (row,) = plain(labels_of(told(*BEGUN, *end, approver=approver)))
    assert (row["outcome"], row["attack"]) == (outcome, attack)
    assert row["decision"] == a_plan().id
    assert row["incident"] == a_plan().finding.id
    assert row["source"] == "receipts"
    assert row["by"]
    assert '"r0"' in row["evidence"]


def test_what_is_under_way_or_touched_nothing_is_no_label() -> None:
    assert labels_of(told(*BEGUN, (Step.VERIFIED, ""))).num_rows == 0
    assert labels_of(told(*BEGUN, (Step.FAILED, "asked to"))).num_rows == 0
    assert labels_of(told((Step.REFUSED, "mode shadow"))).num_rows == 0


def test_a_persons_word_stands_beside_the_outcome() -> None:
    word = Word(a_plan().id, attack=False, who="ada", at_ns=5)
    both = plain(labels_of(told(*BEGUN, (Step.VERIFIED, ""), (Step.EXPIRED, "")), [word]))
    assert [(row["source"], row["attack"], row["by"]) for row in both] == [
        ("receipts", None, "guards"),
        ("person", False, "ada"),
    ]


def test_a_fifth_of_incidents_is_held_out_for_ever() -> None:
    out = [held_out(f"finding-{number}") for number in range(5000)]
    assert 0.18 < np.mean(out) < 0.22
    assert out == [held_out(f"finding-{number}") for number in range(5000)]


def test_labels_lie_in_the_lake_once(tmp_path: Path) -> None:
    labels = labels_of(told(*BEGUN, (Step.VERIFIED, ""), (Step.EXPIRED, ""), approver="ada"))
    with Lake(LakeSettings(folder=tmp_path)) as lake:
        assert keep(lake, labels, 1_700_000_000_000_000_000) == 1
        assert keep(lake, labels, 1_700_000_001_000_000_000) == 0
        back = lake.read("labels")
    assert back.schema == LABELS
    assert back.equals(pa.Table.from_batches([labels]))


def test_only_what_somebody_vouches_for_is_known_and_the_last_word_counts() -> None:
    plan = told(*BEGUN, (Step.VERIFIED, ""), (Step.EXPIRED, ""), approver="ada")
    (known,) = known_of(pa.Table.from_batches([labels_of(plan)]))
    assert known.family == a_plan().finding.pattern
    assert known.held_out == held_out(a_plan().finding.id)
    later = dataclasses.replace(Word(a_plan().id, attack=False, who="bo", at_ns=10**9))
    assert known_of(pa.Table.from_batches([labels_of(plan, [later])])) == []
