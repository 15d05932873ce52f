"""Seeds trained by Ray are the seeds trained here."""

from pathlib import Path

import pytest

from loomidi.origami.train import FitSettings, RaySeeds, here, train
from tests.unit.origami.lives import stream

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_ray_gives_what_this_process_gives(tmp_path: Path) -> None:
    of, wanted = stream(20), FitSettings(kind="half-space-trees", settings={"window": 4096, "trees": 5})
    far = train(of, wanted, (1, 2), tmp_path / "far", RaySeeds())
    near = train(of, wanted, (1, 2), tmp_path / "near", here)
    figures = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in one.rows] for one in (far, near)
    ]
    assert figures[0] == figures[1]
    states = [[one.model.detector().snapshot() for one in seeds.trained] for seeds in (far, near)]
    assert states[0] == states[1]
    assert states[0][0] != states[0][1]
