"""The graph model as it is trained, exported and scored: small, on a made-up stream."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.features import CAUSAL
from loomidi.origami.model import ModelSettings, TrainedModel, train
from loomidi.origami.model.learning import Learner
from loomidi.origami.model.made import stream
from loomidi.origami.model.samples import seen_of
from loomidi.origami.model.steps import ScoreStep, in_torch
from loomidi.origami.model.training import carded
from loomidi.origami.online import Seen
from loomidi.origami.scoring import Calibration, GraphModel, Judge

SMALL = ModelSettings(members=2, dim=8, hidden=16, epochs=2, tick_s=5.0, ends=256)
BATCH, TRUTH = stream(1, workloads=30, ticks=400)
CUT = int(0.8 * BATCH.num_rows)
SEEN = seen_of([BATCH], 0)
FIRST, REST = SEEN.part(0, CUT), SEEN.part(CUT, len(SEEN))


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train([BATCH.slice(0, 3000), BATCH.slice(3000, CUT - 3000)], SMALL, 7)


def loaded(trained: TrainedModel) -> GraphModel:
    return GraphModel.of(trained.data)


def network(**changed: object) -> torch.nn.Module:
    return Learner(FIRST, dataclasses.replace(SMALL, epochs=1, **changed), 3).learn()


def test_torch_and_onnx_give_the_same_scores_over_a_stream(trained: TrainedModel, tmp_path: Path) -> None:
    trained.export(tmp_path / "graph.onnx")
    exported = GraphModel.load(tmp_path / "graph.onnx")
    plain = GraphModel(trained.card, {"": in_torch(trained.module)}, exported.calibration)
    exported.fit(FIRST)
    plain.fit(FIRST)
    assert np.abs(exported.score(REST) - plain.score(REST)).max() < 1e-5 * max(1.0, plain.score(REST).max())
    assert np.abs(exported.shares(REST) - plain.shares(REST)).max() < 1e-5


def test_shares_add_up_to_the_score(trained: TrainedModel) -> None:
    one = loaded(trained)
    one.fit(FIRST)
    tick = REST.part(0, int(np.searchsorted(REST.times_ns, REST.times_ns[0], side="right")))
    assert np.allclose(one.score(tick), one.shares(tick).sum(axis=1), atol=1e-4)


def test_how_a_stream_is_cut_makes_no_difference_to_any_bit(trained: TrainedModel) -> None:
    whole, cut = loaded(trained), loaded(trained)
    parts = [cut.score(FIRST.part(a, b)) for a, b in pairwise([0, 1, 2, 9, 500, 517, 2000, 5000, len(FIRST)])]
    assert np.concatenate(parts).tobytes() == whole.score(FIRST).tobytes()


def test_a_restored_one_goes_on_bit_for_bit(trained: TrainedModel) -> None:
    one, other = loaded(trained), loaded(trained)
    one.fit(FIRST)
    other.restore(one.snapshot())
    assert other.score(REST).tobytes() == one.score(REST).tobytes()


def test_a_scan_is_stranger_than_nearly_all_that_is_usual(trained: TrainedModel) -> None:
    one = loaded(trained)
    one.fit(FIRST)
    scores, truth = one.score(REST), TRUTH[CUT:]
    assert np.mean(scores[truth] > np.quantile(scores[~truth], 0.99)) > 0.5


def test_a_judge_takes_it_and_tells_the_scan(trained: TrainedModel) -> None:
    judge = Judge(lambda: loaded(trained))
    half = CUT // 2
    judge.fit([BATCH.slice(0, half)], [BATCH.slice(half, CUT - half)])
    rest = BATCH.slice(CUT)
    ticks = np.flatnonzero(np.diff(REST.times_ns, prepend=0))
    told = [one for a, b in pairwise([*ticks, len(REST)]) for one in judge.tick(rest.slice(a, b - a))]
    assert any("deployment/shop/0" in incident.entities for incident in told)


def test_the_same_seed_gives_the_same_network_and_another_one_does_not() -> None:
    first, again = (network().state_dict() for _ in range(2))
    other = Learner(FIRST, dataclasses.replace(SMALL, epochs=1), 4).learn().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_members_are_different_networks() -> None:
    weights = network().expect.out.weight
    assert not torch.allclose(weights[0], weights[1])


def test_what_is_expected_of_an_edge_is_not_told_by_its_own_features() -> None:
    one, rows = network(), torch.randn(4, len(CAUSAL))
    context = torch.randn(2, 4, 8 + 8 + 2 * len(CAUSAL) + 4)
    ends = torch.arange(4), torch.arange(4)
    assert torch.equal(one.expect(rows, context, ends), one.expect(rows + 1, context, ends))
    assert not torch.equal(one.expect(rows, context, ends), one.expect(rows, context + 1, ends))


def test_a_device_that_is_not_there_is_refused_with_what_there_is() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match=r"cannot train on 'cuda'.*give cpu"):
        train([BATCH], dataclasses.replace(SMALL, device="cuda"), 7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_the_same_file_but_for_rounding() -> None:
    made = [train([BATCH], dataclasses.replace(SMALL, device=device), 7) for device in ("cpu", "cuda")]
    first, second = (GraphModel.of(one.data) for one in made)
    assert first.card == second.card
    assert np.corrcoef(first.score(SEEN), second.score(SEEN))[0, 1] > 0.99


def untold(**changed: object) -> GraphModel:
    """Trained, and scored by torch."""
    settings = dataclasses.replace(SMALL, epochs=1, **changed)
    learner = Learner(FIRST, settings, 3)
    card = carded(settings, CAUSAL, (learner.middle, learner.spread), 3)
    return GraphModel(card, {"": in_torch(ScoreStep(learner.learn()))}, Calibration())


@pytest.mark.parametrize("ablation", [{"remember": "nothing"}, {"graph": False}])
def test_an_ablation_does_not_see_who_talks_to_whom(ablation: dict[str, object]) -> None:
    others = Seen(REST.times_ns, REST.destinations, REST.sources, REST.values)
    assert np.array_equal(untold(**ablation).score(REST), untold(**ablation).score(others))


def test_the_whole_model_sees_who_talks_to_whom(trained: TrainedModel) -> None:
    one, other = loaded(trained), loaded(trained)
    one.fit(FIRST)
    other.fit(FIRST)
    assert not np.allclose(
        one.score(REST), other.score(Seen(REST.times_ns, REST.destinations, REST.sources, REST.values))
    )


def test_one_hundredth_of_the_edges_is_not_learned(trained: TrainedModel) -> None:
    assert trained.metrics["trimmed"] == pytest.approx(SMALL.trim, abs=0.005)


def test_strange_edges_in_the_training_do_not_move_what_is_expected() -> None:
    values = FIRST.values.copy()
    values[:: len(values) // 20] += 30
    odd = Learner(
        Seen(FIRST.times_ns, FIRST.sources, FIRST.destinations, values), dataclasses.replace(SMALL, epochs=3), 3
    )
    plain = Learner(FIRST, dataclasses.replace(SMALL, epochs=3), 3)
    odd.learn()
    plain.learn()
    assert odd.metrics["loss"] == pytest.approx(plain.metrics["loss"], abs=0.15)


def rewritten(trained: TrainedModel, **changed: str) -> bytes:
    model = onnx.load_model_from_string(trained.data)
    metadata = {one.key: one.value for one in model.metadata_props}
    onnx.helper.set_model_props(model, metadata | {f"loomidi.{name}": text for name, text in changed.items()})
    return model.SerializeToString()


@pytest.mark.parametrize("part", ["card", "schema", "calibration"])
def test_a_file_whose_metadata_were_changed_is_refused(trained: TrainedModel, part: str) -> None:
    with pytest.raises(InputError):
        GraphModel.of(rewritten(trained, **{part: "?"}))


def test_the_file_carries_features_scaler_calibration_and_no_folder_of_this_machine(trained: TrainedModel) -> None:
    one = loaded(trained)
    assert one.card.features == CAUSAL
    assert len(one.card.spread) == len(CAUSAL)
    assert one.calibration.limit(1e-2) > 0
    assert b"/src/" not in trained.data
    assert b"site-packages" not in trained.data
