"""A trained graph model as a detector of edges, run by ONNX Runtime: no torch is needed.

Called by `judging`, `services` and the bench. In: a file that `origami.model` exported, and `Seen`. Out: scores, and
which feature has which share of one. All edges of a tick are judged by what was before the tick; then the last learned
edge of each end is remembered, in a table of fixed size. Weights never change here.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.origami.online.seen import F32, I64, U64, Mask, Seen, packed, unpacked
from loomidi.origami.scoring.calibrating import Calibration
from loomidi.origami.scoring.cards import ATTACK, CALIBRATION, FORECAST, Card, attached, read
from loomidi.origami.scoring.ends import EndTable, Layout, Learned, laid_out, pieces, ticks

Arrays = dict[str, npt.NDArray[Any]]
Step = Callable[[Arrays, list[str]], list[npt.NDArray[Any]]]
"""Inputs by name and names of outputs to outputs: the exported graph, or the same in torch."""

_PIECE = 8192
"""Edges that are scored at once: a tick of 8,000 renews each of its ends once, which costs more than all else."""
_PAD = 16
"""Rows come in multiples: arithmetic on vectors then has no rest that is rounded otherwise, however a stream is cut."""


class GraphModel:
    """A `Detector` whose state is the memory of the ends."""

    def __init__(self, card: Card, steps: Mapping[str, Step], calibration: Calibration, digest: str = "") -> None:
        """`steps`: the graph by the name "" and, where they were trained, `cards.FORECAST` and `cards.ATTACK`."""
        self.card, self.calibration, self.digest = card, calibration, digest
        self._steps = dict(steps)
        self._start: F32 = np.concatenate([np.zeros(card.width), card.middle, card.middle, [0, 0]]).astype(np.float32)
        self._limit = calibration.limit(card.gate) if card.gate and calibration.fitted else np.inf
        self._open: list[Learned] = []  # of the tick that is not over
        self.counts = {"edges": 0, "late": 0}
        self._forget()

    @classmethod
    def load(cls, path: Path) -> "GraphModel":
        """From a file. Raises InputError where it is not ours or does not fit, EnvironmentLacks without a runtime."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(
                f"the model {path} cannot be read: {error.strerror}; name a file that was exported"
            ) from error
        return cls.of(data)

    @classmethod
    def of(cls, data: bytes) -> "GraphModel":
        """The same from the bytes of a file."""
        session = _session(data)
        metadata = session.get_modelmeta().custom_metadata_map
        card = read(metadata)
        calibration = Calibration()
        calibration.restore(attached(metadata, CALIBRATION))
        steps = {"": _step(session)}
        for name in (FORECAST, ATTACK):
            if name in metadata:
                steps[name] = _step(_session(attached(metadata, name)))
        return cls(card, steps, calibration, hashlib.sha256(data).hexdigest())

    def fit(self, seen: Seen) -> None:
        """Remember the ends of usual edges, from nothing. What is usual was learned in training and stays."""
        self._forget()
        limit, self._limit = self._limit, np.inf
        self.score(seen)
        self._limit = limit

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """How much stranger each edge is than its ends let expect. Rows of the mask are remembered, all without one.

        Those that score above the gate of the card are not.
        """
        out = np.empty(len(seen), np.float32)
        for _ in self.walk(seen, learn, out):
            pass
        return out

    def walk(self, seen: Seen, learn: Mask | None = None, out: F32 | None = None) -> Iterator[tuple[slice, Arrays]]:
        """The same piece by piece: rows, and what the network was fed for them. `out` takes the scores."""
        for rows, tick in self._pieces(seen):
            self._turn(tick)
            part = seen.part(rows.start, rows.stop)
            wanted = np.ones(len(part), bool) if learn is None else learn[rows]
            layout = self._laid_out(part, np.flatnonzero(wanted))
            fed = self._fed(part, layout)
            score = self._steps[""](fed, ["score"])[0][: len(part)]
            usual = wanted & (score <= self._limit)
            if out is not None:
                out[rows] = score
            if self._remembers and usual.any():
                if usual.sum() < wanted.sum():
                    layout = self._laid_out(part, np.flatnonzero(usual))
                self._remember(part, layout, fed)
            yield rows, fed

    def shares(self, seen: Seen) -> F32:
        """(edges, features): what each feature adds to the score, by what is remembered now. Nothing is learned."""
        return self._told("", "shares", seen, len(self.card.features))

    def attacks(self, seen: Seen) -> F32:
        """(edges,) how likely each is of an attack, by the supervised head. Raises UsageError where there is none."""
        if ATTACK not in self._steps:
            raise UsageError("this model has no supervised head; train it on batches with a column `attack`")
        return self._told(ATTACK, "attack", seen, 1)[:, 0]

    def forecast(self, ends: U64, metrics: F32) -> tuple[F32, F32]:
        """Mean and deviation of the metrics of nodes, each (ends, horizons, metrics), by now's (ends, metrics)."""
        if FORECAST not in self._steps:
            raise UsageError("this model has no forecast; train it with the metrics of nodes")
        fed = _padded({"memory": self.memories(ends), "metrics": metrics})
        mean, deviation = self._steps[FORECAST](fed, ["mean", "deviation"])
        return mean[: len(ends)], deviation[: len(ends)]

    def memories(self, ends: U64) -> F32:
        """(ends, width): what is remembered of each end, zeros where nothing is."""
        return self._ends.look(ends)[0][:, : self.card.width]

    @property
    def remembered(self) -> dict[str, int]:
        """Ends in the table, those that were forgotten, and those that found no room in their tick."""
        return {"ends": len(self._ends), **self._ends.counts}

    def snapshot(self) -> bytes:
        """The memory of all ends, and the hash of the model that it belongs to."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same model. Raises InputError where it does not fit."""
        like = self._arrays()
        kept = unpacked(state, like)
        if kept["model"].tobytes() != like["model"].tobytes():
            raise InputError("a snapshot of another graph model does not fit this one; start anew without it")
        self._forget()
        self._tick = int(kept["tick"][0])
        self._ends.take(kept["keys"], kept["state"], kept["seen"])
        if len(kept["open_keys"]):
            self._open = [_whole(kept["open_keys"], kept["open_state"])]

    def _remember(self, part: Seen, layout: Layout, fed: Arrays) -> None:
        """Ends of the layout take up their last edge when the tick is over."""
        renewed = self._steps[""](fed | self._news(part, layout), ["renewed"])[0][: len(layout.own)]
        before = np.concatenate([fed["memory"], fed["past"], fed["age"]], axis=1)
        self._open.append(Learned.of(part, layout, renewed, before, self.card.fading))
        if sum(len(one.ends) for one in self._open) > 2 * self.card.ends:
            self._folded()

    @property
    def _remembers(self) -> bool:
        return self.card.graph and self.card.remember != "nothing"

    def _forget(self) -> None:
        self._tick = 0
        self._ends = EndTable(self.card.ends, self._start)
        self._open = []

    def _pieces(self, seen: Seen) -> Iterator[tuple[slice, int]]:
        """Ranges of rows of one tick each. A time before the latest counts as the latest."""
        if seen.values.shape[1] != len(self.card.features):
            many = len(self.card.features)
            raise UsageError(
                f"this model looks at {many} features, not {seen.values.shape[1]}; feed what it was trained on"
            )
        if not len(seen):
            return
        numbers = ticks(seen.times_ns, self.card.tick_s, self._tick)
        self.counts["edges"] += len(seen)
        self.counts["late"] += int(np.sum(seen.times_ns // int(self.card.tick_s * 1e9) < numbers))
        yield from pieces(numbers if self._remembers else np.full_like(numbers, numbers[0]), _PIECE)

    def _laid_out(self, part: Seen, learned: I64) -> Layout:
        if self._remembers:
            return laid_out(part, learned)
        nothing, nobody = np.zeros(0, np.int64), np.zeros(len(part), np.int64)
        role = np.zeros(0, np.float32)
        return Layout(np.zeros(1, np.uint64), nobody, nobody, nothing, nothing, nothing, role, (nothing, nothing))

    def _fed(self, part: Seen, layout: Layout) -> Arrays:
        width = self.card.width
        state, seen = self._ends.look(layout.ends)
        gap = np.where(seen < 0, self.card.horizon_s, (self._tick - seen) * self.card.tick_s)
        return {
            **_padded({"values": part.values, "source": layout.source, "destination": layout.destination}),
            **_padded(
                {
                    "memory": state[:, :width],
                    "past": state[:, width:-2],
                    "age": state[:, -2:],
                    "gap": np.minimum(gap, self.card.horizon_s).astype(np.float32),
                }
            ),
            **self._news(part, layout),
        }

    def _news(self, part: Seen, layout: Layout) -> Arrays:
        return _padded({"own": layout.own, "other": layout.other, "role": layout.role, "news": part.values[layout.row]})

    def _told(self, step: str, output: str, seen: Seen, width: int) -> F32:
        out = np.empty((len(seen), width), np.float32)
        for at in range(0, len(seen), _PIECE):
            part = seen.part(at, at + _PIECE)
            layout = self._laid_out(part, np.zeros(0, np.int64))
            found = self._steps[step](self._fed(part, layout), [output])[0]
            out[at : at + _PIECE] = found[: len(part)].reshape(len(part), width)
        return out

    def _turn(self, tick: int) -> None:
        """What the tick before told becomes what is remembered."""
        if tick > self._tick:
            for one in self._folded():
                self._ends.write(one.ends, one.state, self._tick)
            self._tick, self._open = tick, []

    def _folded(self) -> list[Learned]:
        """The pieces of the tick as one, a later one first; ends that would find no room in the table are left out."""
        if len(self._open) > 1 or any(len(one.ends) > self.card.ends for one in self._open):
            every = np.unique(np.concatenate([one.ends for one in self._open]))
            ends = every[: self.card.ends]
            self._ends.counts["crowded_out"] += len(every) - len(ends)
            state, _ = self._ends.look(ends)
            for one in self._open:
                one.into(ends, state, self.card.width)
            self._open = [_whole(ends, state)]
        return self._open

    def _arrays(self) -> Arrays:
        nothing = _whole(np.zeros(0, np.uint64), np.zeros((0, len(self._start)), np.float32))
        one = (self._folded() or [nothing])[0]
        model = np.frombuffer(bytes.fromhex(self.digest), np.uint8)
        opened: Arrays = {
            "open_keys": one.ends,
            "open_state": one.state,
            "tick": np.array([self._tick], np.int64),
            "model": model,
        }
        return {**self._ends.arrays(), **opened}


def _whole(ends: U64, state: F32) -> Learned:
    every = np.ones(len(ends), bool)
    return Learned(ends, state, (every, every))


def _padded(columns: Arrays) -> Arrays:
    """With rows of zeros up to a multiple of `_PAD`, and never none."""
    many = len(next(iter(columns.values())))
    lacking = max(-(-many // _PAD), 1) * _PAD - many
    return {
        name: np.concatenate([one, np.zeros((lacking, *one.shape[1:]), one.dtype)]) if lacking else one
        for name, one in columns.items()
    }


def _session(data: bytes) -> Any:
    """One thread: a scorer shares its node with what it watches."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentLacks("a graph model is scored by ONNX Runtime: pip install 'loomidi[pipeline]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError("this file is no ONNX model that can be run here; name a file that was exported") from error


def _step(session: Any) -> Step:
    """Inputs that a graph does not read (an ablation) are not in it, and not fed."""
    taken = {one.name for one in session.get_inputs()}

    def run(fed: Arrays, outputs: list[str]) -> list[npt.NDArray[Any]]:
        found: list[npt.NDArray[Any]] = session.run(outputs, {name: one for name, one in fed.items() if name in taken})
        return found

    return run
