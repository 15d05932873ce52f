"""All seeds of one model, here or on many machines; which of them is the model, and how far they are apart.

Called by `services.anomalies.modelling`. In: `Stream`, what is to be trained, seeds, a folder. Out: `Seeds`. The model
is the first seed that was asked for, whatever the others do: to take the best one would be choosing on the test.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts.errors import UsageError
from loomidi.origami.train.appraising import summary
from loomidi.origami.train.fitting import FitSettings, Trained, blanked, fit
from loomidi.origami.train.streams import Stream
from loomidi.origami.train.trying import try_out

Spread = Callable[[Stream, FitSettings, Sequence[int], Path], list[Trained]]
_GROUPS = {
    "history": ("_1m", "_10m", "_1h", "_total", "_degree"),
    "peers": ("_peers_", "_degree", "first_seen", "new_peer"),
    "gaps": ("_gap_s", "gap_variation"),
    "shape": ("per_flow", "_ratio", "port_entropy", "_p50_s", "crosses_namespace"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Seeds:
    """What was trained."""

    trained: tuple[Trained, ...]
    rows: tuple[Mapping[str, float], ...]  # a row a seed: seed, seconds, alarms, recall where incidents are known

    @property
    def chosen(self) -> Trained:
        """The first."""
        return self.trained[0]

    def spread(self) -> dict[str, dict[str, float]]:
        """Mean, sample deviation and worst of each figure over the seeds."""
        names = [name for name in self.rows[0] if name != "seed"]
        out = dict[str, dict[str, float]]()
        for name in names:
            values = np.array([row[name] for row in self.rows], float)
            worst = values.min() if name.startswith("recall") else values.max()
            deviation = values.std(ddof=1) if len(values) > 1 else 0.0
            out[name] = {"mean": float(values.mean()), "sd": float(deviation), "worst": float(worst)}
        return out


def here(stream: Stream, wanted: FitSettings, seeds: Sequence[int], folder: Path) -> list[Trained]:
    """One after the other, in this process."""
    return [fit(stream, wanted, seed, folder / str(seed)) for seed in seeds]


def train(stream: Stream, wanted: FitSettings, seeds: Sequence[int], folder: Path, spread: Spread = here) -> Seeds:
    """Train each seed and score the test with it. `spread` says where; models lie in `folder`."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError("name each seed once, such as 0,1,2,3,4")
    trained = spread(stream, wanted, seeds, folder)
    rows = [
        {
            "seed": one.model.manifest.seed,
            "seconds": one.seconds,
            **summary(stream, try_out(one.model, stream).strange, wanted.nominal),
        }
        for one in trained
    ]
    return Seeds(tuple(trained), tuple(rows))


def ablations(stream: Stream, wanted: FitSettings, seed: int, folder: Path) -> list[dict[str, Any]]:
    """The same model without groups of its features, each trained and calibrated anew."""
    out = list[dict[str, Any]]()
    for group, parts in _GROUPS.items():
        names = tuple(name for name in stream.features if any(part in name for part in parts))
        if not names or len(names) == len(stream.features):
            continue
        one = fit(stream, dataclasses.replace(wanted, without=names), seed, folder / f"without-{group}")
        blind = dataclasses.replace(stream, seen=blanked(stream.seen, stream, names))
        figures = summary(stream, try_out(one.model, blind).strange, wanted.nominal)
        out.append({"name": f"without {group}", "features": list(names), **figures})
    return out


def limits(trained: Trained) -> list[dict[str, float]]:
    """The calibration as people read it: which score has which p-value."""
    calibration = trained.model.calibration()
    return [{"p_value": risk, "score": calibration.limit(risk)} for risk in (0.1, 0.01, 1e-3, 1e-4, 1e-5)]
