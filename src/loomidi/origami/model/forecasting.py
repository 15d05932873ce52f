"""The head that forecasts the metrics of nodes, from now's metrics and from the memory of their edges.

Called by `training` where metrics are given. In: a trained graph model, edges, metrics by node and time. Out: a module
for export, and its error beside that of "as now" on the last quarter of the time. A network that does not beat that is
told as it is.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loomidi.contracts.errors import UsageError
from loomidi.origami.model.samples import Metered
from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.online.seen import F32, Mask, Seen
from loomidi.origami.scoring.graphs import GraphModel

_HIDDEN, _EPOCHS, _BATCH, _RATE = 64, 30, 256, 2e-3
_LATE = 0.25  # of a horizon: a later sample is no answer to it
_FIRST = 0.75  # of the samples in order of time
_LEAST = 64  # samples that have an answer


class ForecastStep(nn.Module):
    """mean and deviation, each (ends, horizons, metrics)."""

    outputs = ("mean", "deviation")
    inputs = ("memory", "metrics")

    def __init__(self, width: int, horizons: int, middle: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.horizons = horizons
        self.register_buffer("middle", middle)
        self.register_buffer("spread", spread)
        many = len(middle)
        self.layers = nn.Sequential(
            nn.Linear(width + many, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2 * horizons * many)
        )

    def forward(self, memory: Tensor, metrics: Tensor) -> tuple[Tensor, Tensor]:
        """How the metrics will differ from now's."""
        now = (metrics - self.middle) / self.spread
        change, raw = self.layers(torch.cat([memory, now.clamp(-8, 8)], dim=1)).chunk(2, dim=1)
        change, raw = (one.unflatten(1, (self.horizons, -1)) for one in (change, raw))
        return metrics[:, None] + change * self.spread, (functional.softplus(raw) + 1e-3) * self.spread


def forecasting(
    model: GraphModel, seen: Seen, nodes: Metered, settings: ModelSettings, seed: int
) -> tuple[ForecastStep, dict[str, float]]:
    """Train on the first samples, tell the error on the last. Raises UsageError when too few have an answer."""
    later, known = answers(nodes, settings.horizons_s)
    whole: Mask = np.all(known, axis=1)
    if whole.sum() < _LEAST:
        raise UsageError(
            f"{int(whole.sum())} samples of metrics have a later one at every horizon; give {_LEAST} at least"
        )
    memory = _memories(model, seen, nodes)
    cut = int(np.flatnonzero(whole)[int(_FIRST * whole.sum())])
    first, last = whole.copy(), whole.copy()
    first[cut:], last[:cut] = False, False
    # What a sample is answered by must not lie in the part that judges.
    first &= nodes.times_ns + int(max(settings.horizons_s) * (1 + _LATE) * 1e9) < nodes.times_ns[cut]
    if not first.any():
        raise UsageError("the metrics of nodes span too little time for these horizons; give more of them")
    low, middle, high = np.quantile(nodes.values[first], (0.05, 0.5, 0.95), axis=0)
    spread = np.maximum((high - low) / 3.289707, 1e-6 + 0.01 * np.abs(middle))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scale = (torch.from_numpy(one.astype(np.float32)) for one in (middle, spread))
        step = ForecastStep(memory.shape[1], len(settings.horizons_s), *scale)
        _fit(step, memory[first], nodes.values[first], later[first])
    return step.eval(), _errors(step, settings, (memory[last], nodes.values[last], later[last]))


def answers(nodes: Metered, horizons_s: tuple[float, ...]) -> tuple[F32, Mask]:
    """(samples, horizons, metrics): the first sample of the same end at each horizon or soon after, and where one is"""
    later = np.zeros((len(nodes.ends), len(horizons_s), nodes.values.shape[1]), np.float32)
    known = np.zeros(later.shape[:2], bool)
    for end in np.unique(nodes.ends):
        rows = np.flatnonzero(nodes.ends == end)
        times = nodes.times_ns[rows]
        for at, horizon in enumerate(horizons_s):
            due = times + int(horizon * 1e9)
            found = np.searchsorted(times, due)
            there = found < len(rows)
            found = np.minimum(found, len(rows) - 1)
            there &= times[found] - due <= int(_LATE * horizon * 1e9)
            later[rows, at], known[rows, at] = nodes.values[rows[found]], there
    return later, known


def _memories(model: GraphModel, seen: Seen, nodes: Metered) -> F32:
    """What was remembered of the edges of each node when it was sampled."""
    model.fit(seen.part(0, 0))
    out = np.zeros((len(nodes.ends), model.card.width), np.float32)
    starts = np.flatnonzero(np.diff(nodes.times_ns, prepend=-1))
    before = 0
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(out)], strict=True):
        until = int(np.searchsorted(seen.times_ns, nodes.times_ns[start]))
        model.score(seen.part(before, until))
        before = max(before, until)
        out[start:stop] = model.memories(nodes.ends[start:stop])
    return out


def _fit(step: ForecastStep, memory: F32, now: F32, later: F32) -> None:
    given = [torch.from_numpy(one) for one in (memory, now, later)]
    optimiser = torch.optim.Adam(step.layers.parameters(), _RATE, weight_decay=1e-4)
    for _ in range(_EPOCHS):
        for at in torch.randperm(len(memory)).split(_BATCH):
            mean, deviation = step(given[0][at], given[1][at])
            loss = (0.5 * ((given[2][at] - mean) / deviation) ** 2 + torch.log(deviation / step.spread)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(step.layers.parameters(), 1.0)
            optimiser.step()


def _errors(step: ForecastStep, settings: ModelSettings, rows: tuple[F32, F32, F32]) -> dict[str, float]:
    """Root mean squared errors in deviations, by horizon: of the head, and of "as now"."""
    memory, now, later = (torch.from_numpy(one) for one in rows)
    with torch.no_grad():
        mean, _ = step(memory, now)
    told = dict[str, float]()
    for at, horizon in enumerate(settings.horizons_s):
        for name, guess in (("forecast", mean[:, at]), ("as_now", now)):
            error = ((later[:, at] - guess) / step.spread).square().mean().sqrt()
            told[f"{name}_{horizon:g}s_error"] = float(error)
    return told
