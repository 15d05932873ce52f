"""The graphs that leave as ONNX: one tick scored, attacks by the supervised head, metrics of nodes forecast.

Called by `exporting`; `in_torch` by tests, as the plain path. In: the tensors that `scoring.graphs` feeds. Out: those
that it asks for, by name. Each is a module without state of its own.
"""

from typing import Any

import torch
from torch import Tensor, nn

from loomidi.origami.model.memories import GraphMemory

INPUTS = ("values", "source", "destination", "memory", "past", "age", "gap", "own", "other", "role", "news")
ROWS = {"values": "edges", "source": "edges", "destination": "edges"} | dict.fromkeys(
    ("own", "other", "role", "news"), "told"
)
"""What the first dimension of an input counts; that of all others are ends."""


class ScoreStep(nn.Module):
    """score (edges,), shares (edges, features), renewed (told, width)."""

    outputs = ("score", "shares", "renewed")
    inputs = INPUTS

    def __init__(self, memory: GraphMemory) -> None:
        super().__init__()
        self.memory_of = memory

    def forward(  # the inputs of the exported graph, by name
        self,
        values: Tensor,
        source: Tensor,
        destination: Tensor,
        memory: Tensor,
        past: Tensor,
        *,
        age: Tensor,
        gap: Tensor,
        own: Tensor,
        other: Tensor,
        role: Tensor,
        news: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One tick."""
        model = self.memory_of
        squared, _ = model.deviations(values, model.context(memory, past, age, gap), (source, destination))
        shares = torch.log1p(squared).mean(dim=0)
        return shares.sum(dim=1), shares, model.renewed(memory, gap, news, (own, other, role))


def in_torch(module: nn.Module) -> Any:
    """The same callable as `scoring.graphs` makes of an exported graph, without export."""
    outputs = module.outputs

    def run(fed: dict[str, Any], names: list[str]) -> list[Any]:
        with torch.no_grad():
            found = module(**{name: torch.from_numpy(fed[name]) for name in module.inputs})
        told = dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))
        return [told[name].numpy() for name in names]

    return run
