"""The graph model: a memory for each end of edges, and what it lets expect of the next edge's features.

Called by `learning`, `exporting` and the tests. In: tensors of one tick. Out: how surprising each feature of each edge
is, and the new memories. A pure function of tensors; who keeps the memories is left to `scoring.ends`.

Design choices
- The memory is TGN's (Rossi et al. 2020, arXiv 2006.10637) as PyTorch Geometric has it: GRU, identity messages, last
  aggregator. It is written anew, since PyG keeps messages in a dict by node number, which neither leaves as ONNX nor
  has a bound. A test holds one step of it against `TGNMemory`.
- Features are reconstructed, links are not predicted: random negatives make that look solved and useless for alarms
  (docs/graph-model.md).
- Each feature is expected from what is known of both ends, and from nothing of the edge itself: the features of an
  attack are off together, and would explain each other.
- Beside the memory stand slow means of an end's edges, as source and as destination, with a path to the output that is
  linear: the last edge alone would let expect each further edge of an attack, lifetime counts grow for ever, and a
  network does not extrapolate.
- The time since an end was seen is told by fixed cosines of its logarithm: they need not be learned (Cong et al. 2023,
  arXiv 2302.11636).
- What is trained and what scores is one distribution, Cauchy's, with one width for each feature: `log1p(z^2)`, summed.
  One feature far off counts less than several that are off, and a few strange edges in the training move little.
- The members of the ensemble are layers with one more dimension: they share nothing but the batches, and cost little
  more than one, whose time goes into calls rather than arithmetic.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from loomidi.origami.model.settings import ModelSettings

_WIDEST = 6.0
"""Logarithm of the greatest squared width that is told."""
_AGED = 100.0
"""Ticks after which it makes no difference any more for how long an end is known."""


class Layers(nn.Module):
    """A linear layer of each member: (members, rows, in) to (members, rows, out)."""

    def __init__(self, members: int, taken: int, given: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(taken)
        self.weight = nn.Parameter(torch.empty(members, taken, given).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, given)) if bias else None

    def forward(self, rows: Tensor) -> Tensor:
        """Each member by itself."""
        out = torch.matmul(rows, self.weight)
        return out if self.bias is None else out + self.bias


class Expectation(nn.Module):
    """Each feature of an edge, from what is known of both ends."""

    def __init__(self, settings: ModelSettings, features: int, context: int) -> None:
        super().__init__()
        members, hidden = settings.members, settings.hidden
        self.known = Layers(members, context, hidden)
        self.hidden = nn.ModuleList(Layers(members, hidden, hidden, bias=at == 0) for at in range(2))
        self.direct = nn.ModuleList(Layers(members, context, features, bias=False) for _ in range(2))
        self.out = Layers(members, hidden, features)

    def forward(self, rows: Tensor, context: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
        """context (members, ends, what is known), ends (edges,) each; the rows themselves are not looked at."""
        del rows
        known = torch.relu(self.known(context))
        hidden = self.hidden[0](known)[:, ends[0]] + self.hidden[1](known)[:, ends[1]]
        direct = self.direct[0](context)[:, ends[0]] + self.direct[1](context)[:, ends[1]]
        return direct + self.out(torch.relu(hidden))


class Autoencoder(nn.Module):
    """The ablation without a graph: one edge through a bottleneck."""

    def __init__(self, settings: ModelSettings, features: int) -> None:
        super().__init__()
        widths = (features, settings.hidden, settings.bottleneck, settings.hidden, features)
        self.layers = nn.ModuleList(Layers(settings.members, *pair) for pair in pairwise(widths))

    def forward(self, rows: Tensor, context: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
        """As `Expectation`; what is known of the ends is not looked at."""
        del context, ends
        out = rows[None]
        for at, layer in enumerate(self.layers):
            out = layer(out if at == 0 else torch.relu(out))
        return out


class GraphMemory(nn.Module):
    """Ensemble of memories. Tensors: edges E, ends U, told ends T, features F, width W = members * dim."""

    def __init__(self, settings: ModelSettings, middle: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.settings = settings
        features, members, dim = len(middle), settings.members, settings.dim
        self.register_buffer("middle", middle)
        self.register_buffer("spread", spread)
        self.register_buffer("frequencies", torch.logspace(0, -1.2, settings.encoded) * math.pi)
        context = dim + settings.encoded + 2 * features + 4
        self.width = nn.Parameter(torch.zeros(members, 1, features))  # logarithm of its square
        self.taken = Layers(members, 2 * dim + features + 1 + settings.encoded, 3 * dim)
        self.kept = Layers(members, dim, 3 * dim)
        self.expect = Expectation(settings, features, context) if settings.graph else Autoencoder(settings, features)

    def scaled(self, values: Tensor) -> Tensor:
        """log1p features in robust deviations from their middle."""
        return (values - self.middle) / self.spread

    def by_member(self, memory: Tensor) -> Tensor:
        """(U, W) to (members, U, dim)."""
        return memory.view(-1, self.settings.members, self.settings.dim).transpose(0, 1)

    def encoded(self, gap: Tensor) -> Tensor:
        """(U,) seconds to (U, encoded)."""
        return torch.cos(torch.log1p(gap)[:, None] * self.frequencies)

    def context(self, memory: Tensor, past: Tensor, age: Tensor, gap: Tensor) -> Tensor:
        """What is known of each end: (members, U, context). `past` (U, 2 F), `age` (U, 2): as source, destination."""
        settings = self.settings
        rows = self.scaled(past.unflatten(1, (2, -1))).flatten(1).clamp(-settings.clip, settings.clip)
        ages = torch.cat([(age > 0).float(), torch.log1p(age.clamp(max=_AGED)) / math.log1p(_AGED)], dim=1)
        rows, memory = torch.cat([rows, self.encoded(gap), ages], dim=1), self.by_member(memory)
        if settings.remember != "all":
            memory = torch.zeros_like(memory)
        if settings.remember == "nothing":
            rows = torch.zeros_like(rows)
        return torch.cat([memory, rows.expand(settings.members, -1, -1)], dim=2)

    def deviations(self, values: Tensor, context: Tensor, ends: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """z^2, (members, E, F), and the logarithm of the squared width, (members, 1, F)."""
        rows, clip = self.scaled(values), self.settings.clip
        expected = self.expect(rows.clamp(-clip, clip), context, ends)
        squared = self.settings.least**2 + torch.exp(self.width.clamp(max=_WIDEST))
        return (rows - expected) ** 2 / squared, torch.log(squared)

    def renewed(self, memory: Tensor, gap: Tensor, news: Tensor, last: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(T, W): the memories of told ends after their last edge `news` (T, F); last: own, other (T,), role (T,)."""
        own, other, role = last
        before = self.by_member(memory)
        clip = self.settings.clip
        told = torch.cat([self.scaled(news).clamp(-clip, clip), role[:, None], self.encoded(gap[own])], dim=1)
        told = told.expand(self.settings.members, -1, -1)
        message = torch.cat([before[:, own], before[:, other], told], dim=2)
        reset, update, fresh = self.taken(message).chunk(3, dim=2)
        kept_reset, kept_update, kept_fresh = self.kept(before[:, own]).chunk(3, dim=2)
        reset, update = torch.sigmoid(reset + kept_reset), torch.sigmoid(update + kept_update)
        fresh = torch.tanh(fresh + reset * kept_fresh)
        after = (1 - update) * fresh + update * before[:, own]
        return after.transpose(0, 1).flatten(1)
