"""The gate lets a better model through and no other; what is not defined refuses."""

import dataclasses

import numpy as np
import pytest

from loomidi.origami.train import Gate, GateSettings, Stream, Trial, judge
from loomidi.origami.train.gating import bootstrap, empty, found, permutation
from tests.unit.origami.lives import stream


@pytest.fixture(scope="module")
def labelled() -> Stream:
    return stream(40)


@pytest.fixture(scope="module")
def unlabelled() -> Stream:
    return stream(0, labelled=False)


def trial(of: Stream, finds: float, *, rate: float = 1e-3, seed: int = 1, latency_ms: float = 1.0) -> Trial:
    """Strange for usual edges as often as it says (at rate 1e-3), and for a share of the incidents."""
    rng = np.random.default_rng(seed)
    number = of.incident[of.calibrate :]
    strange = -np.log10(rng.random(len(number)) * (1e-3 / rate))
    for incident in range(int(number.max(initial=-1)) + 1):
        strange[number == incident] = 8.0 if incident < finds * len(of.incidents) else 0.1
    return Trial(strange, np.full(200, latency_ms), {"schema": 0, "length": 0, "not a number": 0, "order": 0})


def met(gate: Gate) -> dict[str, bool | None]:
    return {one.name: one.met for one in gate.criteria}


def test_a_better_one_passes_and_a_worse_one_does_not(labelled: Stream) -> None:
    good, bad = trial(labelled, 0.9), trial(labelled, 0.4, seed=2)
    assert judge(labelled, bad, good).open
    refused = judge(labelled, good, bad)
    assert not refused.open
    assert met(refused) == {"promises": True, "latency": True, "alarms": True, "not worse": False, "better": False}


def test_one_that_is_only_as_good_is_no_reason_to_change(labelled: Stream) -> None:
    gate = judge(labelled, trial(labelled, 0.6), trial(labelled, 0.6, seed=2))
    assert met(gate) == {"promises": True, "latency": True, "alarms": True, "not worse": True, "better": False}


def test_one_that_is_as_good_replaces_one_whose_alarms_left_the_budget(labelled: Stream) -> None:
    astray = trial(labelled, 0.6, rate=8e-3)
    assert judge(labelled, astray, trial(labelled, 0.6, seed=2)).open
    assert not judge(labelled, trial(labelled, 0.6), astray).open


def test_a_little_better_by_luck_does_not_pass(labelled: Stream) -> None:
    gate = judge(labelled, trial(labelled, 0.6), trial(labelled, 0.625, seed=2))
    assert met(gate)["better"] is False


@pytest.mark.parametrize("promise", ["schema", "length", "not a number", "order"])
def test_a_broken_promise_refuses(labelled: Stream, promise: str) -> None:
    good = trial(labelled, 1.0)
    broken = dataclasses.replace(good, broken=dict(good.broken) | {promise: 1})
    gate = judge(labelled, trial(labelled, 0.2), broken)
    assert not gate.open
    assert met(gate)["promises"] is False
    assert gate.because.startswith(f"promises: 1 {promise}")


def test_a_slow_one_is_refused_and_so_is_one_whose_latency_nobody_knows(labelled: Stream) -> None:
    bad = trial(labelled, 0.2)
    assert met(judge(labelled, bad, trial(labelled, 0.9, latency_ms=80.0)))["latency"] is False
    unmeasured = dataclasses.replace(trial(labelled, 0.9), latencies_ms=np.zeros(3))
    assert met(judge(labelled, bad, unmeasured))["latency"] is None
    assert not judge(labelled, bad, unmeasured).open


def test_scores_that_are_no_numbers_refuse_in_every_way(labelled: Stream) -> None:
    nothing = dataclasses.replace(
        trial(labelled, 0.9), strange=np.full(len(labelled.seen) - labelled.calibrate, np.nan)
    )
    gate = judge(labelled, trial(labelled, 0.2), nothing)
    assert not gate.open
    assert met(gate)["alarms"] is None
    assert met(gate)["not worse"] is False


def test_too_few_incidents_or_edges_are_not_defined_and_refuse() -> None:
    few = stream(4)
    gate = judge(few, trial(few, 0.0), trial(few, 1.0))
    assert met(gate)["better"] is None
    assert not gate.open
    strict = GateSettings(nominal=1e-6)
    assert met(judge(few, trial(few, 0.0), trial(few, 1.0), strict))["alarms"] is None


def test_without_incidents_alarms_nearer_to_the_budget_decide(unlabelled: Stream) -> None:
    calm, loud = trial(unlabelled, 0), trial(unlabelled, 0, rate=2e-2, seed=2)
    assert judge(unlabelled, loud, calm).open
    assert not judge(unlabelled, calm, loud).open
    assert not judge(unlabelled, calm, trial(unlabelled, 0, seed=3)).open


def test_without_incidents_one_that_says_nothing_is_refused(unlabelled: Stream) -> None:
    silent = dataclasses.replace(trial(unlabelled, 0), strange=np.zeros(len(unlabelled.seen) - unlabelled.calibrate))
    assert met(judge(unlabelled, trial(unlabelled, 0, rate=2e-2), silent))["alarms"] is False


def test_nothing_measured_is_a_refusal() -> None:
    assert not Gate(()).open
    assert Gate(()).because == "nothing was measured"
    assert not empty("no champion").open


def test_the_first_of_the_floor_has_to_keep_the_absolute_criteria_alone(labelled: Stream) -> None:
    assert set(met(judge(labelled, None, trial(labelled, 0.5)))) == {"promises", "latency", "alarms"}
    assert judge(labelled, None, trial(labelled, 0.5)).open
    assert not judge(labelled, None, trial(labelled, 0.5, rate=1e-2)).open


def test_both_models_are_compared_at_one_realised_rate(labelled: Stream) -> None:
    """Loud or quiet makes no difference to recall: only the order of edges does."""
    quiet, loud = trial(labelled, 0.5), trial(labelled, 0.5)
    louder = loud.strange + 3.0
    assert found(labelled, quiet.strange, 1e-3)[0].tolist() == found(labelled, louder, 1e-3)[0].tolist()


def test_the_bootstrap_is_paired_and_repeats() -> None:
    first, second = np.array([True, False] * 20), np.array([True, True] * 20)
    mean, low = bootstrap(first, second, GateSettings())
    assert mean == 0.5
    assert 0.3 < low < 0.5
    assert bootstrap(first, second, GateSettings()) == (mean, low)
    assert bootstrap(first, first, GateSettings()) == (0.0, 0.0)


def test_the_permutation_is_exact_for_few_blocks() -> None:
    assert permutation(np.full(8, 2.0), np.zeros(8), GateSettings()) == 1 / 256
    assert permutation(np.zeros(8), np.full(8, 2.0), GateSettings()) == 1.0
    assert permutation(np.ones(8), np.ones(8), GateSettings()) == 1.0
    assert permutation(np.full(40, 2.0), np.zeros(40), GateSettings()) < 0.001
