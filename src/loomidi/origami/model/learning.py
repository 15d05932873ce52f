"""The training of the graph model on a stream that is held to be usual, without labels.

Called by `training`. In: `Seen` in order of time, settings, a seed. Out: the trained network and what was met on the
way. Ticks are laid out and remembered by the code that scores (`scoring.ends`), so that both see a stream alike. Same
seed, same network, on one machine and device.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loomidi.contracts.errors import UsageError
from loomidi.origami.model.memories import GraphMemory
from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.online.seen import F32, I64, Seen
from loomidi.origami.scoring.ends import EndTable, Layout, Learned, laid_out, ticks

_LOW, _HIGH, _SIGMAS = 0.05, 0.95, 3.289707  # quantiles, and the deviations of a normal distribution between them
_NORM = 1.0  # of the gradient of a member; a longer one is shortened
_ROWS = 200_000  # that the scaler looks at
_WIDER = 4  # times as many edges make a step where there is no memory to go through


def available(device: str) -> None:
    """Raises UsageError where torch cannot train on this device."""
    try:
        torch.zeros(1).to(device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        told = str(error).splitlines()[0]
        raise UsageError(f"torch cannot train on {device!r}: {told}; give cpu, or cuda where there is a GPU") from error


def scaler(values: F32, least: float) -> tuple[F32, F32]:
    """Middle and spread of each feature by quantiles: a few strange edges do no harm."""
    low, middle, high = np.quantile(values[:: len(values) // _ROWS + 1], (_LOW, 0.5, _HIGH), axis=0)
    return middle.astype(np.float32), np.maximum((high - low) / _SIGMAS, least).astype(np.float32)


class Learner:
    """One training."""

    def __init__(self, seen: Seen, settings: ModelSettings, seed: int) -> None:
        self._seen, self._settings = seen, settings
        self.middle, self.spread = scaler(seen.values, settings.least)
        self._random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = GraphMemory(settings, torch.from_numpy(self.middle), torch.from_numpy(self.spread))
        self.model.to(settings.device)  # begins with the same numbers wherever it trains
        self._optimiser = torch.optim.Adam(self.model.parameters(), settings.rate)
        self._limit = torch.full((settings.members, 1), torch.inf, device=settings.device)
        self._ticks = ticks(seen.times_ns, settings.tick_s)
        starts = np.flatnonzero(np.diff(self._ticks, prepend=-1))
        self._slices = [slice(*pair) for pair in zip(starts, [*starts[1:], len(seen)], strict=True)]
        clip = settings.clip * self.spread
        self._bounds = self.middle - clip, self.middle + clip
        self.metrics: dict[str, float] = {"edges": len(seen), "ticks": len(starts)}

    def learn(self) -> GraphMemory:
        """All epochs. One thread: the tensors of a tick are too small for two."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for epoch in range(self._settings.epochs):
                losses = self._epoch(epoch)
                self._limit = torch.quantile(
                    losses[:, :: losses.shape[1] // _ROWS + 1], 1 - self._settings.trim, dim=1
                )[:, None]
                self.metrics |= {"loss": float(losses.median()), "learned": losses.shape[1]}
        finally:
            torch.set_num_threads(threads)
        self.metrics["trimmed"] = float((losses > self._limit).float().mean())
        self.model.cpu().eval()
        return self.model

    def _epoch(self, epoch: int) -> Tensor:
        """(members, edges): the losses of all edges that were drawn."""
        settings, losses = self._settings, list[Tensor]()
        self._table = EndTable(settings.ends, self._unknown(1)[0])
        for done, chunk in self._chunks():
            left = 1 - (epoch + done) / settings.epochs
            for group in self._optimiser.param_groups:
                group["lr"] = settings.rate * max(left, 0.02)
            losses.append(self._learn(chunk))
        return torch.cat(losses, dim=1)

    def _chunks(self) -> Iterator[tuple[float, list[npt.NDArray[np.int64]]]]:
        """Share of the epoch that is done, and the drawn edges of the ticks of one step."""
        settings, chunk, count = self._settings, list[I64](), 0
        if not settings.graph or settings.remember == "nothing":
            every = self._random.permutation(np.concatenate([self._drawn(rows) for rows in self._slices]))
            for at in range(0, len(every), _WIDER * settings.step):
                yield at / len(every), [every[at : at + _WIDER * settings.step]]
            return
        for rows in self._slices:
            chunk.append(self._drawn(rows))
            count += len(chunk[-1])
            if count >= settings.step:
                yield rows.start / len(self._seen), chunk
                chunk, count = [], 0
        if chunk:
            yield 1.0, chunk

    def _drawn(self, rows: slice) -> I64:
        """The edges of a tick, or as many of them as are learned from."""
        count = rows.stop - rows.start
        if count <= self._settings.most:
            return np.arange(rows.start, rows.stop)
        some: I64 = np.sort(self._random.choice(count, self._settings.most, replace=False)) + rows.start
        return some

    def _learn(self, chunk: list[I64]) -> Tensor:
        """One step of the optimiser; the losses of its edges by member."""
        live, found = Live(self._settings.members * self._settings.dim), list[Tensor]()
        memory = self._settings.graph and self._settings.remember != "nothing"
        for drawn in chunk:
            found.append(self._tick(drawn, live) if memory else self._alone(drawn))
        losses = torch.cat(found, dim=1)
        kept = losses.detach() <= self._limit
        self._optimiser.zero_grad(set_to_none=True)
        (torch.where(kept, losses, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)).sum().backward()
        shorten(self.model)
        self._optimiser.step()
        return losses.detach()

    def _tick(self, drawn: I64, live: "Live") -> Tensor:
        """1 what is remembered of the ends, 2 how drawn edges surprise, 3 what all edges of the tick leave behind."""
        tick = int(self._ticks[drawn[0]])
        start, stop = np.searchsorted(self._ticks, [tick, tick + 1])
        part = self._seen.part(int(start), int(stop))
        layout = laid_out(part, np.arange(len(part)))
        state, seen = self._table.look(layout.ends)  # 1
        width = live.width
        gap = np.where(seen < 0, np.inf, (tick - seen) * self._settings.tick_s)
        gap = np.minimum(gap, self._settings.horizon_s).astype(np.float32)
        memory = live.over(layout.ends, self._there(state[:, :width]))
        losses = self._surprise(drawn, int(start), layout, (memory, state[:, width:], gap))  # 2
        last = (self._there(layout.own), self._there(layout.other), self._there(layout.role))
        renewed = self.model.renewed(memory, self._there(gap), self._there(part.values[layout.row]), last)  # 3
        live.add(layout.ends[layout.own], renewed)
        learned = Learned.of(part, layout, renewed.detach().cpu().numpy(), state, self._settings.fading)
        self._table.write(learned.ends, learned.state, tick)
        return losses

    def _surprise(self, drawn: I64, start: int, layout: Layout, known: tuple[Tensor, F32, F32]) -> Tensor:
        """Losses of the drawn edges, some of their ends taken for unknown."""
        memory, told, gap = known
        unknown = self._random.random(len(layout.ends)) < self._settings.unknown
        told = np.where(unknown[:, None], self._unknown(len(told))[:, -told.shape[1] :], told)
        gap = np.where(unknown, np.float32(self._settings.horizon_s), gap)
        memory = memory * self._there(~unknown)[:, None]
        context = self.model.context(memory, self._there(told[:, :-2]), self._there(told[:, -2:]), self._there(gap))
        ends = self._there(layout.source[drawn - start]), self._there(layout.destination[drawn - start])
        return likelihood(*self.model.deviations(self._values(drawn), context, ends))

    def _alone(self, drawn: I64) -> Tensor:
        """The same where nothing is remembered: all ends are unknown."""
        settings = self._settings
        past, age = np.split(self._unknown(1)[:, settings.members * settings.dim :], [-2], axis=1)
        memory, gap = np.zeros((1, settings.members * settings.dim), np.float32), np.full(1, settings.horizon_s)
        told = (memory, past, age, gap.astype(np.float32))
        context = self.model.context(*map(self._there, told))
        nobody = self._there(np.zeros(len(drawn), np.int64))
        return likelihood(*self.model.deviations(self._values(drawn), context, (nobody, nobody)))

    def _values(self, drawn: I64) -> Tensor:
        """Features, none so far off that it alone would be learned from."""
        return self._there(np.clip(self._seen.values[drawn], *self._bounds))

    def _there(self, values: npt.NDArray[Any]) -> Tensor:
        """Where the network is."""
        return torch.from_numpy(values).to(self._settings.device)

    def _unknown(self, count: int) -> F32:
        """The state of ends that are not known."""
        zeros = np.zeros(self._settings.members * self._settings.dim, np.float32)
        return np.tile(np.concatenate([zeros, self.middle, self.middle, np.zeros(2, np.float32)]), (count, 1))


class Live:
    """Memories that were renewed since the last step of the optimiser: gradients go through them."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._ends: list[npt.NDArray[np.uint64]] = []
        self._memory: list[Tensor] = []

    def add(self, ends: npt.NDArray[np.uint64], memory: Tensor) -> None:
        """After a tick."""
        self._ends.append(ends)
        self._memory.append(memory)

    def over(self, ends: npt.NDArray[np.uint64], memory: Tensor) -> Tensor:
        """What the table says of these ends, and of those that were renewed since then what they are now."""
        if not self._ends:
            return memory
        keys = np.concatenate(self._ends)
        order = np.argsort(keys, kind="stable")
        at = np.maximum(np.searchsorted(keys[order], ends, side="right") - 1, 0)
        renewed = keys[order][at] == ends
        rows = torch.cat(self._memory)[torch.from_numpy(order[at]).to(memory.device)]
        return torch.where(torch.from_numpy(renewed).to(memory.device)[:, None], rows, memory)


def likelihood(squared: Tensor, logarithm: Tensor) -> Tensor:
    """(members, edges): negative logarithm of a row's density by Cauchy, a constant left out, mean of its features."""
    return (torch.log1p(squared) + 0.5 * logarithm).mean(dim=2)


def shorten(model: torch.nn.Module) -> None:
    """Gradients at most `_NORM` long, each member by itself."""
    grads = [one.grad for one in model.parameters() if one.grad is not None]
    norms = torch.stack([one.flatten(1).square().sum(dim=1) for one in grads]).sum(dim=0).sqrt()
    shorter = (_NORM / norms.clamp(min=1e-12)).clamp(max=1.0)
    for one in grads:
        one.mul_(shorter.view(-1, *[1] * (one.dim() - 1)))
