"""Settings of the graph model and of its training.

Called by `training`, `memories`, the bench and whoever trains. In: nothing. Out: `ModelSettings`. No torch is needed to
read or change them.
"""

import dataclasses

from loomidi.contracts.errors import UsageError

REMEMBER = ("all", "means", "nothing")


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSettings:
    """The network, what is an ablation of it, and how it is trained."""

    members: int = 3
    # Networks that are trained beside each other and averaged: one seed's luck counts less.
    dim: int = 32
    # Of the memory of an end, per member.
    encoded: int = 8
    # Cosines of the time since an end was seen.
    hidden: int = 32
    # Units of a hidden layer, per member; more cost time in every tick.
    bottleneck: int = 6
    # Of the autoencoder that stands in where `graph` is off: a quarter of the features, as its peer in the bench.
    remember: str = "all"
    # Of an end: `all`, the `means` of its edges without the trained memory, or `nothing` (zeroed memory): ablations.
    fading: float = 0.02
    # Share that one tick of an end has in these means: what was before fades within some fifty ticks with edges of it.
    gate: float = 0.01
    # p-value below which an edge is not remembered while scoring; 0: all are. An attack must not become usual.
    graph: bool = True
    # Off: an autoencoder of one edge alone, without its ends: the ablation that the graph must beat.
    epochs: int = 5
    # Passes over the stream.
    step: int = 256
    # Edges between two steps of the optimiser; gradients go through the memory for as long.
    most: int = 512
    # Edges of one tick that are learned from, drawn anew in each epoch: a flood must not be all that is learned.
    rate: float = 3e-3
    # Of Adam; falls to nothing until the end.
    trim: float = 0.01
    # Share of the edges with the highest loss of the last epoch that is not learned in this one: contamination.
    unknown: float = 0.1
    # Share of the ends that count as unknown in a step: a new workload must be usual to the network.
    least: float = 0.1
    # The least deviation, in log1p: what never changed must not be infinitely strange when it does.
    clip: float = 8.0
    # Deviations beyond which an input is not told to the network; the score sees it as it is.
    tick_s: float = 1.0
    # Edges of one tick are judged by what was before it. At most the size of a window.
    horizon_s: float = 86_400.0
    # The longest gap that is told; also where an end was not seen before.
    ends: int = 65_536
    # That are remembered: 146 numbers each are 38 MB.
    calibrate: float = 0.25
    # Share of the ticks, the last ones, that p-values are made of and nothing is learned from.
    hash_seed: int = 0
    # Of the keys of ends; that of the features.
    horizons_s: tuple[float, ...] = (60.0, 300.0)
    # How far ahead the metrics of nodes are forecast.
    device: str = "cpu"
    # That trains, as torch names it: `cuda` where there is one. The file that is exported does not tell.

    def check(self) -> None:
        """Raises UsageError where a setting is out of its bounds."""
        if self.remember not in REMEMBER:
            raise UsageError(f"remember is one of {', '.join(REMEMBER)}, not {self.remember!r}")
        if not 0 < self.calibrate < 1 or not 0 <= self.trim < 0.5 or not 0 <= self.unknown < 1:
            raise UsageError("calibrate, trim and unknown are shares: above 0 and below 1, and trim below a half")
        if not 0 < self.fading <= 1 or not 0 <= self.gate < 1:
            raise UsageError("fading is above 0 and at most 1, gate is a p-value below 1, or 0 for none")
        if (
            min(self.members, self.dim, self.hidden, self.epochs, self.step, self.most, self.ends) < 1
            or self.tick_s <= 0
        ):
            raise UsageError("members, dim, hidden, epochs, step, most, ends and tick_s are above 0")
