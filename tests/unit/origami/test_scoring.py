"""Scores become probabilities, alerts become incidents, attacks are not learned, the budget is kept."""

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts.errors import UsageError
from loomidi.origami.features import EDGES, EdgeFeatures, FeatureSettings
from loomidi.origami.online import HalfSpaceTrees, Seen, TreesSettings
from loomidi.origami.scoring import (
    Alert,
    Calibration,
    Guarded,
    GuardSettings,
    Incident,
    Incidents,
    IncidentSettings,
    Judge,
    JudgeSettings,
    RollingLimit,
    RollingSettings,
    discoveries,
    lesser,
)
from loomidi.origami.scoring.judging import hubs

SECOND = 10**9
DAY = 86_400 * SECOND


def calibrated(count: int = 20_000) -> Calibration:
    one = Calibration()
    one.fit(np.random.default_rng(1).exponential(size=count).astype(np.float32))
    return one


def test_p_values_of_usual_scores_are_as_often_small_as_they_say() -> None:
    fresh = np.random.default_rng(2).exponential(size=100_000).astype(np.float32)
    p_values = calibrated().p_values(fresh)
    for risk in (0.1, 1e-2, 1e-3):
        assert np.mean(p_values <= risk) == pytest.approx(risk, rel=0.35)
        assert np.mean(fresh > calibrated().limit(risk)) == pytest.approx(risk, rel=0.35)


def test_beyond_what_was_seen_the_fitted_tail_tells_the_rest() -> None:
    p_values = calibrated().p_values(np.array([12, 15, 20], np.float32))
    assert (np.diff(p_values) < 0).all()
    assert 1e-8 < p_values[1] < 1e-5
    assert calibrated().limit(1e-6) == pytest.approx(13.8, rel=0.25)


def test_a_calibration_needs_edges_and_goes_on_after_a_restore() -> None:
    with pytest.raises(UsageError, match="wait for 1000"):
        Calibration().fit(np.zeros(10, np.float32))
    with pytest.raises(UsageError, match="nothing is calibrated yet"):
        Calibration().p_values(np.zeros(1, np.float32))
    again, scores = Calibration(), np.array([1, 5, 30], np.float32)
    again.restore(calibrated().snapshot())
    assert again.p_values(scores).tolist() == calibrated().p_values(scores).tolist()


def test_of_two_p_values_the_lesser_holds_for_both_and_the_share_says_whose_errors_are_whose() -> None:
    random = np.random.default_rng(3)
    one, other = random.uniform(size=(2, 200_000))
    for share in (0.5, 0.1):
        assert np.mean(lesser(one, other, share) <= 0.01) == pytest.approx(0.01, rel=0.1)
    alone, never = np.array([9e-6]), np.array([1.0])
    assert lesser(alone, never, 0.1) == pytest.approx(1e-5)
    assert lesser(never, alone, 0.1) == pytest.approx(9e-5)


def test_of_many_usual_edges_none_is_told_and_of_strange_ones_all() -> None:
    usual = np.random.default_rng(3).random(1000)
    strange = np.full(20, 1e-6)
    told = discoveries(np.concatenate([usual, strange]), 0.1)
    assert told[1000:].all()
    assert told[:1000].sum() <= 5
    assert not discoveries(np.zeros(0), 0.1).size


def alert(at_s: float, source: str, destination: str, p_value: float = 1e-6) -> Alert:
    return Alert(int(at_s * SECOND), source, destination, 1, -np.log10(p_value), p_value, (("first_seen", 1.0),))


def told(incidents: Incidents, *alerts: Alert) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.state, tuple(sorted(one.entities))) for one in incidents.take(alerts)]


def test_alerts_that_share_an_end_are_one_incident_that_is_told_once() -> None:
    incidents = Incidents()
    assert told(incidents, alert(0, "a", "b"), alert(1, "b", "c")) == [("new", ("a", "b", "c"))]
    assert told(incidents, alert(2, "a", "b")) == []
    assert told(incidents, alert(3, "x", "y")) == [("new", ("x", "y"))]
    assert [one.state for one in incidents.settle(2000 * SECOND)] == ["over", "over"]


def test_an_alert_that_connects_two_incidents_makes_them_one_with_the_older_id() -> None:
    incidents = Incidents()
    first = next(iter(incidents.take([alert(0, "a", "b")])))
    (other,) = incidents.take([alert(1, "x", "y")])
    joined = list(incidents.take([alert(2, "b", "x")]))
    assert [(one.state, one.incident_id, one.alerts) for one in joined] == [
        ("over", other.incident_id, 1),
        ("worse", first.incident_id, 3),
    ]
    assert incidents.counts["joined"] == 1


def test_what_everybody_talks_to_joins_nothing() -> None:
    resolver = "deployment/kube-system/dns"
    usual = edges(10, 1, 0).set_column(2, "destination", pa.array([resolver] * 10))
    usual = usual.set_column(1, "source", pa.array([f"pod-{n}" for n in range(10)]))
    incidents = Incidents(hubs=hubs([usual], 0.5))
    assert incidents.hubs == {resolver}
    assert told(incidents, *(alert(0, f"pod-{n}", resolver) for n in range(6))) == [
        ("new", (resolver, f"pod-{n}")) for n in range(6)
    ]


def test_incidents_are_bounded_and_what_does_not_fit_is_counted() -> None:
    incidents = Incidents(IncidentSettings(open=2, entities=4))
    states = [one.state for at in range(4) for one in incidents.take([alert(at, f"s{at}", f"d{at}")])]
    assert states.count("over") == incidents.counts["crowded_out"] == 2
    big = list(Incidents(IncidentSettings(entities=4)).take([alert(0, "a", f"d{n}") for n in range(9)]))
    assert (len(big[0].entities), big[0].unnamed) == (4, 6)


def test_a_limit_follows_drift_from_the_past_and_a_flooded_day_moves_one_vote() -> None:
    random = np.random.default_rng(4)
    rolling = RollingLimit(8.0, RollingSettings(periods=5))
    shares = []
    for day in range(12):
        scores = (random.exponential(size=20_000) + 0.1 * day).astype(np.float32)
        usual = np.ones(len(scores), bool)
        if day in (6, 9):
            scores[5000:] = 100
            usual[5000:] = False
        times = np.sort(random.integers(day * DAY, (day + 1) * DAY, len(scores)))
        half = len(scores) // 2
        parts = [rolling.exceed(times[at], scores[at]) for at in (slice(0, half), slice(half, None))]
        shares.append(float(np.mean(np.concatenate(parts)[usual])))
    assert max(shares) < 5e-3
    again = RollingLimit(0.0, RollingSettings(periods=5))
    again.restore(rolling.snapshot())
    assert again.limit == rolling.limit


def edges(rows: int, seed: int, start_s: int) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 3600, rows)) + start_s
    source, destination = (pa.array([f"w{n}" for n in random.integers(0, 6, rows)]) for _ in "sd")
    weights = pa.array(np.ones(rows), pa.uint32())
    return pa.RecordBatch.from_arrays(
        [pa.array(times * SECOND).cast(EDGES[0].type), source, destination, weights], schema=EDGES
    )


def made() -> HalfSpaceTrees:
    return HalfSpaceTrees(TreesSettings(trees=10, depth=8, window=1024))


def test_a_slow_drift_is_learned_by_one_and_not_by_the_frozen_one() -> None:
    random = np.random.default_rng(5)

    def seen(shift: float) -> Seen:
        rows = random.normal(3 + shift, 0.3, (1024, 24)).astype(np.float32)
        return Seen(np.arange(1024), *np.ones((2, 1024), np.uint64), rows)

    guarded = Guarded(made, GuardSettings(gate=0.05))
    guarded.fit(seen(0), seen(0))
    for step in range(12):
        last = guarded.p_values(seen(0.1 * step))
    assert np.median(last) < 0.1
    assert guarded.counts["gated"] > 0
    again = Guarded(made, GuardSettings(gate=0.05))
    again.restore(guarded.snapshot())
    after = seen(0.5)
    assert again.p_values(after).tolist() == guarded.p_values(after).tolist()
    assert again.apart == guarded.apart


def test_a_scan_is_one_incident_with_its_reasons_and_an_hour_as_usual_is_none() -> None:
    features = EdgeFeatures(FeatureSettings(pairs=4096, ends=512))
    train, slice_, quiet = (features.feed(edges(3000, seed, 3600 * seed)) for seed in (1, 2, 3))
    scan = pa.RecordBatch.from_arrays(
        [
            pa.array((np.arange(200) // 20 + 3600 * 4) * SECOND).cast(EDGES[0].type),
            pa.array(["w1"] * 200),
            pa.array([f"victim-{n}" for n in range(200)]),
            pa.array(np.ones(200), pa.uint32()),
        ],
        schema=EDGES,
    )
    judge = Judge(made, JudgeSettings(incidents_per_day=24))
    judge.fit([train], [slice_])
    assert judge.tick(quiet) == []
    (incident,) = judge.tick(features.feed(scan))
    assert isinstance(incident, Incident)
    assert incident.entities[0] == "w1"
    assert incident.contributions[0][0] in ("source_degree", "source_peers_1m", "source_peers_10m", "source_peers_1h")
    assert judge.tick(features.feed(scan.slice(0, 0))) == []
