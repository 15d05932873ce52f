"""The supervised head: how likely an edge is of an attack, from recordings whose attacks are known.

Called by `training` where labels are given. In: a trained graph model, edges, labels. Out: a module for export, and how
well it ranks edges that came later than those it learned from. It is reported apart and never part of the score: it
knows the attacks that it was shown, and no others.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from loomidi.origami.model.memories import GraphMemory
from loomidi.origami.model.samples import parted
from loomidi.origami.online.seen import F32, Mask, Seen
from loomidi.origami.scoring.graphs import GraphModel

INPUTS = ("values", "source", "destination", "memory", "past", "gap")
_MOST = 20_000  # edges of each kind that are learned from
_HIDDEN, _EPOCHS, _BATCH, _RATE = 32, 20, 512, 2e-3


class AttackStep(nn.Module):
    """attack (edges,): probability."""

    outputs = ("attack",)
    inputs = INPUTS

    def __init__(self, memory: GraphMemory) -> None:
        super().__init__()
        self.memory_of = memory.requires_grad_(False)
        features, known = len(memory.middle), memory.settings
        context = known.members * known.dim + known.encoded + 2 * features
        self.layers = nn.Sequential(nn.Linear(features + 2 * context, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1))

    def logits(self, values: Tensor, ends: tuple[Tensor, Tensor], known: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """ends: places in what is known: memory, last rows, gap."""
        memory, past, gap = known
        model, clip = self.memory_of, self.memory_of.settings.clip
        rows = model.scaled(past.unflatten(1, (2, -1))).flatten(1).clamp(-clip, clip)
        context = torch.cat([memory, rows, model.encoded(gap)], dim=1)
        told = torch.cat([model.scaled(values).clamp(-clip, clip), context[ends[0]], context[ends[1]]], dim=1)
        logit: Tensor = self.layers(told)[:, 0]
        return logit

    def forward(
        self, values: Tensor, source: Tensor, destination: Tensor, *, memory: Tensor, past: Tensor, gap: Tensor
    ) -> Tensor:
        """One tick."""
        return torch.sigmoid(self.logits(values, (source, destination), (memory, past, gap)))


def supervised(
    network: GraphMemory, model: GraphModel, seen: Seen, labels: Mask, seed: int
) -> tuple[AttackStep, dict[str, float]]:
    """Train on the first part of the time, judge by the rest. Raises UsageError as `parted`."""
    random = np.random.default_rng(seed)
    cut = parted(seen, labels)
    first, later = np.arange(len(seen)) < cut, np.arange(len(seen)) >= cut
    chosen = np.concatenate(
        [_some(random, first & labels), _some(random, first & ~labels), _some(random, later & labels)]
    )
    chosen = np.sort(np.concatenate([chosen, _some(random, later & ~labels)]))
    rows = _collected(model, seen, chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        step = AttackStep(network)
        _fit(step, {name: one[chosen < cut] for name, one in rows.items()}, labels[chosen[chosen < cut]])
    with torch.no_grad():
        told = _of(step, {name: one[chosen >= cut] for name, one in rows.items()}).numpy()
    truth = labels[chosen[chosen >= cut]]
    return step.eval(), {
        "attack_average_precision": average_precision(told, truth),
        "attack_base_rate": float(truth.mean()),
    }


def average_precision(scores: F32, truth: Mask) -> float:
    """Mean precision at each true one, ties against the model."""
    order = np.lexsort((truth, -scores))
    hits = np.cumsum(truth[order])
    return float(np.mean((hits / np.arange(1, len(hits) + 1))[truth[order]]))


def _some(random: np.random.Generator, which: Mask) -> npt.NDArray[np.int64]:
    rows = np.flatnonzero(which)
    return rows if len(rows) <= _MOST else random.choice(rows, _MOST, replace=False)


def _collected(model: GraphModel, seen: Seen, chosen: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """What is known of both ends of each chosen edge before it: each input (edges, 2, ...), and values."""
    model.fit(seen.part(0, 0))
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ("values", "memory", "past", "gap")}
    for rows, fed in model.walk(seen):
        at = chosen[np.searchsorted(chosen, rows.start) : np.searchsorted(chosen, rows.stop)] - rows.start
        found["values"].append(fed["values"][at])
        ends = np.stack([fed["source"][at], fed["destination"][at]], axis=1)
        for name in ("memory", "past", "gap"):
            found[name].append(fed[name][ends])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _of(step: AttackStep, rows: dict[str, npt.NDArray[Any]]) -> Tensor:
    count = len(rows["values"])
    known = [
        torch.from_numpy(rows[name].swapaxes(0, 1).reshape(2 * count, *rows[name].shape[2:]))
        for name in ("memory", "past", "gap")
    ]
    ends = torch.arange(count), torch.arange(count) + count
    return step.logits(torch.from_numpy(rows["values"]), ends, (known[0], known[1], known[2]))


def _fit(step: AttackStep, rows: dict[str, npt.NDArray[Any]], labels: Mask) -> None:
    truth = torch.from_numpy(labels.astype(np.float32))
    weight = (1 - truth.mean()) / truth.mean()
    optimiser = torch.optim.Adam(step.layers.parameters(), _RATE, weight_decay=1e-4)
    for _ in range(_EPOCHS):
        for at in torch.randperm(len(truth)).split(_BATCH):
            told = _of(step, {name: one[at.numpy()] for name, one in rows.items()})
            loss = functional.binary_cross_entropy_with_logits(told, truth[at], pos_weight=weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
