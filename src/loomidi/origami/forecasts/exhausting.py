"""When memory, disk, descriptors, pools and queues will be exhausted: a stream over the metrics of many series.

Called by whoever reads metrics, and by `bench.failing`. In: `READINGS` in order of time. Out: `FORECASTS`, a row for
each series that was read: the chance of exhaustion within the horizon, and from when to when at level p, or not within
it. From the past only; what a series did before a reset (a restart, a collection, a rotation) is kept as its peak
alone. Memory is fixed. Leaves the trend to `trending`, the chance to `calibrating`, words to `telling`.
"""

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.forecasts.calibrating import Residuals
from loomidi.origami.forecasts.keeping import Places
from loomidi.origami.forecasts.peaking import Peaks
from loomidi.origami.forecasts.trending import Trend, holt, theil
from loomidi.origami.online.seen import packed, unpacked

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_TIME = pa.timestamp("ns", "UTC")
READINGS = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("entity", pa.utf8(), nullable=False),  # "pod/shop/cart-0"
        pa.field("metric", pa.utf8(), nullable=False),  # what may be exhausted: memory, disk, descriptors, pool, queue
        pa.field("value", pa.float64(), nullable=False),  # how much of it is used
        pa.field("capacity", pa.float64()),  # in the same unit; null: not known, and learned if it can be
        pa.field("epoch", pa.int64()),  # of what holds it, such as its count of restarts; null: not known
    ]
)
FORECASTS = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("entity", pa.utf8(), nullable=False),
        pa.field("metric", pa.utf8(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),  # of exhaustion within the horizon
        pa.field("earliest_s", pa.float64()),  # from now; null: not within the horizon at this level
        pa.field("latest_s", pa.float64()),  # null: not within the horizon, or later than it
        pa.field("level", pa.float64(), nullable=False),  # now, without noise
        pa.field("slope", pa.float64(), nullable=False),  # per second
        pa.field("noise", pa.float64(), nullable=False),  # standard deviation around the trend
        pa.field("capacity", pa.float64(), nullable=False),
        pa.field("learned", pa.bool_(), nullable=False),  # the capacity, from where restarts came
        pa.field("resets", pa.int64(), nullable=False),  # seen so far
        pa.field("readings", pa.int64(), nullable=False),  # since the last reset, of those that are kept
        pa.field("since", _TIME),  # since when it is held to be on its way; null: it is not
    ]
)
FLAT, RISING, STEEP, TOOTHED = range(4)  # kinds of trends, each with its own experience


@dataclasses.dataclass(frozen=True, slots=True)
class ExhaustionSettings:
    """What is looked at, and how sure one must be."""

    series: int = 4096
    # Remembered, the least recently read goes first; one is 3 kB.
    kept: int = 64
    # Readings of each: five minutes at one in five seconds.
    brief: int = 16
    # Readings of the window that is believed once it differs from the longer one.
    least: int = 8
    # Readings since a reset before anything is forecast.
    horizon_s: float = 300.0
    # Within which exhaustion counts.
    steps: int = 6
    # Horizons at which forecasts are held against what came.
    level: float = 0.8
    # That the interval holds.
    told: float = 0.8
    # Probability at which a series is on its way to exhaustion, and ...
    ended: float = 0.3
    # ... below which it no longer is.
    drop: float = 0.4
    # Share of what a series gained that must vanish in one reading for a reset, ...
    clear: float = 6.0
    # ... and deviations.
    finest: float = 2e-4
    # Of the capacity: a deviation is never taken to be less, for what is measured in whole MiB or counted in pieces.
    broken: float = 0.25
    # Of the growth that is forecast: how much of it may as well not come.
    pool: int = 1024
    # Past forecasts by kind and horizon from which the chance is taken.
    trend: str = "theil"
    # Or "holt": damped smoothing.
    bends: bool = True
    # Whether a trend that bends is taken to go on bending.


class Exhaustion:
    """Forecasts of many series."""

    def __init__(self, settings: ExhaustionSettings | None = None) -> None:
        self.settings = s = settings or ExhaustionSettings()
        if s.trend not in ("theil", "holt") or s.least < 4 or s.kept < s.brief or s.steps < 2:
            raise UsageError("a trend is theil or holt, of 4 readings or more, over a window longer than the brief one")
        self.horizons_s = np.arange(1, s.steps + 1) * s.horizon_s / s.steps
        self.counts: Counter[str] = Counter()
        self._places, self._peaks = Places(s.series), Peaks(s.series)
        self._residuals = Residuals(4, s.steps, s.pool)
        self._times, self._values = np.full((2, s.series, s.kept), np.nan)
        self._length = np.zeros((2, s.series), np.int64)  # readings since the reset, resets
        self._told_ns = np.full(s.series, -1, np.int64)
        self._epochs = np.full(s.series, -1, np.int64)
        waiting = 2 * s.steps + 2  # forecasts that wait to be held against what comes
        self._made_s, self._reached = np.full((2, s.series, waiting), np.nan)
        self._expected = np.full((2, s.series, waiting, s.steps), np.nan)  # value, scale
        self._kinds = np.zeros((s.series, waiting), np.int64)

    def update(self, readings: pa.Table | pa.RecordBatch) -> pa.Table:
        """Take readings in, in order of time, and tell the state of each series after its last one.

        `readings` is of READINGS; late and unusable ones are counted in `counts`. Raises InputError for another schema.
        """
        rows = _Rows.of(readings, self.counts)
        if not len(rows.values):
            return FORECASTS.empty_table()
        parts = [
            self._some(rows.of_series(chunk)) for chunk in np.array_split(np.arange(len(rows.names)), rows.chunks(self))
        ]
        return pa.concat_tables(parts)

    def _some(self, rows: "_Rows") -> pa.Table:
        """As many different series as there are places for, at most."""
        places, fresh = self._places.of(rows.names)
        self._forget(fresh)
        told = dict[str, F64]()
        for turn in rows.turns():
            part = self._turn(places[rows.series[turn]], rows, turn)
            told = _merged(told, part)
        self.counts["forgotten"] = self._places.forgotten
        return self._table(rows, places, told)

    def _turn(self, at: I64, rows: "_Rows", turn: I64) -> dict[str, F64]:
        """A reading of each of these. Steps: 1 what is in time  2 what came due  3 resets  4 learn  5 forecast."""
        # 1 what is in time
        late = rows.times_s[turn] <= np.nan_to_num(self._times[at, -1], nan=-np.inf)
        self.counts["late"] += int(late.sum())
        at, turn = at[~late], turn[~late]
        now_s, values = rows.times_s[turn], rows.values[turn]
        # 2 what came due
        self._due(at, now_s, values)
        # 3 resets
        self._reset(at, now_s, values, rows.epochs[turn])
        # 4 learn
        for kept, new in ((self._times, now_s), (self._values, values)):
            kept[at] = np.concatenate([kept[at, 1:], new[:, None]], axis=1)
        self._length[0, at] = np.minimum(self._length[0, at] + 1, self.settings.kept)
        # 5 forecast
        known = rows.capacities[turn]
        capacity = np.where(np.isfinite(known), known, self._peaks.capacity(at))
        able = np.isfinite(capacity) & (self._length[0, at] >= self.settings.least)
        self.counts["no_capacity"] += int((~np.isfinite(capacity)).sum())
        self.counts["too_few"] += int((np.isfinite(capacity) & ~able).sum())
        self.counts["forecast"] += int(able.sum())
        return self._forecast(at[able], now_s[able], capacity[able], ~np.isfinite(known[able]))

    def _due(self, at: I64, now_s: F64, values: F64) -> None:
        """Hold forecasts whose horizon has passed against the highest value since; then let the new one count."""
        age = now_s[:, None] - self._made_s[at]
        before = self._times[at, -1][:, None] - self._made_s[at]
        for step, ahead_s in enumerate(self.horizons_s):
            row, slot = np.nonzero((age > ahead_s) & ~(before > ahead_s))
            if len(row):
                expected, scale = self._expected[:, at[row], slot, step]
                off = (self._reached[at[row], slot] - expected) / scale
                self._residuals.add(self._kinds[at[row], slot], step, off)
        self._reached[at] = np.fmax(self._reached[at], values[:, None])

    def _reset(self, at: I64, now_s: F64, values: F64, epochs: I64) -> None:
        """Where most of what was gained is gone at once, or what holds it was begun anew."""
        s, last, count = self.settings, self._values[at, -1], self._length[0, at]
        inside = np.arange(s.kept)[None, :] >= s.kept - count[:, None]
        some = count >= 3
        top = np.max(np.where(inside, self._values[at], -np.inf), axis=1)
        bottom = np.min(np.where(inside, self._values[at], np.inf), axis=1)
        moves = np.where(inside[:, 1:] & inside[:, :-1], np.abs(np.diff(self._values[at], axis=1)), np.nan)
        usual = np.nan_to_num(_middles_of_few(moves))
        gained = np.where(some, top - bottom, 0.0)
        fell = some & (last - values > np.maximum(s.drop * gained, s.clear * usual)) & (gained > 0)
        fell &= last - values > 0.02 * np.abs(last)
        known = self._epochs[at]
        anew = (epochs >= 0) & (known >= 0) & (epochs != known)
        self._epochs[at] = np.where(epochs >= 0, epochs, known)
        gone = (fell | anew) & (count > 0)
        self._peaks.add(at[gone], now_s[gone], top[gone], anew[gone])
        self._length[0, at[gone]] = 0
        self._told_ns[at[gone]] = -1
        self._length[1, at[gone]] += 1
        self.counts["resets"] += int(gone.sum())

    def _forecast(self, at: I64, now_s: F64, capacity: F64, learned: npt.NDArray[np.bool_]) -> dict[str, F64]:
        """The chance by horizon, and what it rests on, as columns beside the places."""
        trend = self._trend(at, capacity)
        expected, scale, kinds = self._expect(at, now_s, trend, capacity)
        needs = (capacity[:, None] - expected) / scale
        chance = np.maximum.accumulate(self._residuals.shares(kinds, needs), axis=1)
        chance[self._values[at, -1] >= capacity] = 1.0
        self._wait(at, now_s, expected, scale, kinds)
        tail = (1 - self.settings.level) / 2
        self._state(at, now_s, chance[:, -1])
        return {
            "place": at.astype(float),
            "at_s": now_s,
            "probability": chance[:, -1],
            "earliest_s": _reaching(chance, self.horizons_s, tail),
            "latest_s": _reaching(chance, self.horizons_s, 1 - tail),
            "level": trend.level,
            "slope": trend.slope,
            "noise": trend.noise,
            "capacity": capacity,
            "learned": learned.astype(float),
        }

    def _trend(self, at: I64, capacity: F64) -> Trend:
        s, times, values, counts = self.settings, self._times[at], self._values[at], self._length[0, at]
        times = times - times[:, -1:]
        found = theil(times, values, counts, s.brief) if s.trend == "theil" else holt(times, values, counts)
        noise = np.maximum(found.noise, s.finest * np.abs(capacity))
        length = np.maximum(-times[np.arange(len(at)), s.kept - counts], 1e-9)
        error = np.maximum(found.error, s.finest * np.abs(capacity) / length)
        bend = found.bend if s.bends else np.ones(len(at))
        return dataclasses.replace(found, noise=noise, error=error, bend=bend)

    def _expect(self, at: I64, now_s: F64, trend: Trend, capacity: F64) -> tuple[F64, F64, I64]:
        """Highest value by horizon, its scale, and the kind of trend. A tooth does not outgrow the ones before it."""
        growth = np.maximum(trend.growth(self.horizons_s), 0.0)
        wide = np.hypot(trend.noise[:, None], self.horizons_s[None, :] * trend.error[:, None])
        scale = np.hypot(wide, self.settings.broken * growth)
        sure = trend.slope / trend.error
        kinds = np.select([sure >= 8, sure >= 2], [STEEP, RISING], FLAT).astype(np.int64)
        expected = trend.level[:, None] + growth
        edge, spread = self._peaks.edge(at, now_s, self.horizons_s)
        held = np.isfinite(edge) & (expected > edge) & (edge < 0.98 * capacity[:, None])
        held &= (trend.level < edge[:, 0] + 3 * spread + 3 * trend.noise)[:, None]
        expected = np.where(held, np.maximum(edge, trend.level[:, None]), expected)
        scale = np.where(held, np.hypot(wide, spread[:, None]), scale)
        return expected, scale, np.where(held[:, -1], TOOTHED, kinds)

    def _wait(self, at: I64, now_s: F64, expected: F64, scale: F64, kinds: I64) -> None:
        """Keep a forecast until its horizons have passed; not each of them, as neighbours say the same."""
        newest = np.nanmax(np.concatenate([self._made_s[at], np.full((len(at), 1), -np.inf)], axis=1), axis=1)
        due = now_s - newest >= self.settings.horizon_s / (2 * self.settings.steps)
        rows = at[due]
        oldest = np.argmin(np.nan_to_num(self._made_s[rows], nan=-np.inf), axis=1)
        self._made_s[rows, oldest], self._kinds[rows, oldest] = now_s[due], kinds[due]
        self._reached[rows, oldest] = np.nan
        self._expected[0, rows, oldest], self._expected[1, rows, oldest] = expected[due], scale[due]

    def _state(self, at: I64, now_s: F64, chance: F64) -> None:
        """Note since when each is on its way to exhaustion, in ns; -1: it is not."""
        since = self._told_ns[at]
        since = np.where((since < 0) & (chance >= self.settings.told), np.round(now_s * 1e9).astype(np.int64), since)
        since = np.where(chance < self.settings.ended, -1, since)
        self._told_ns[at] = since

    def _table(self, rows: "_Rows", places: I64, told: dict[str, F64]) -> pa.Table:
        if not told:
            return FORECASTS.empty_table()
        place = told["place"].astype(np.int64)
        name = np.argsort(places)[np.searchsorted(np.sort(places), place)]
        columns = {key: pa.array(told[key], mask=~np.isfinite(told[key])) for key in told}
        since = self._told_ns[place]
        columns |= {
            "timestamp": pa.array(np.round(told["at_s"] * 1e9).astype(np.int64)).cast(_TIME),
            "entity": rows.entities.take(pa.array(name)),
            "metric": rows.metrics.take(pa.array(name)),
            "learned": pa.array(told["learned"] > 0),
            "resets": pa.array(self._length[1, place]),
            "readings": pa.array(self._length[0, place]),
            "since": pa.array(since, mask=since < 0).cast(_TIME),
        }
        return pa.table([columns[field.name] for field in FORECASTS], schema=FORECASTS)

    def _forget(self, places: I64) -> None:
        """Places that were given anew begin with nothing."""
        for array in (self._times, self._values, self._made_s, self._reached):
            array[places] = np.nan
        self._length[:, places] = 0
        self._told_ns[places] = self._epochs[places] = -1
        self._peaks.forget(places)

    def snapshot(self) -> bytes:
        """All series and all experience."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same settings. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays())
        if len(kept["told_ns"]) != self.settings.series:
            raise InputError("a snapshot of forecasts is of other settings; start anew without it")
        self._places.go_on(kept["places"])
        self._residuals.go_on(kept)
        self._peaks.go_on(kept)
        for name in _OWN:
            setattr(self, f"_{name}", kept[name])

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        own = {name: getattr(self, f"_{name}") for name in _OWN}
        return own | {"places": self._places.state()} | self._residuals.arrays() | self._peaks.arrays()


_OWN = ("times", "values", "length", "told_ns", "epochs", "made_s", "reached", "expected", "kinds")


@dataclasses.dataclass(frozen=True, slots=True)
class _Rows:
    """Readings as columns, and which of the different series each is of."""

    names: list[str]
    entities: pa.Array  # of the different series
    metrics: pa.Array
    series: I64
    times_s: F64
    values: F64
    capacities: F64
    epochs: I64

    @staticmethod
    def of(readings: pa.Table | pa.RecordBatch, counts: Counter[str]) -> "_Rows":
        table = pa.table(readings) if isinstance(readings, pa.Table) else pa.Table.from_batches([readings])
        if not table.schema.equals(READINGS):
            raise InputError("readings to forecast from are not of the schema READINGS; cast them first")
        counts["readings"] += len(table)
        usable = pc.is_finite(table["value"])
        counts["not_finite"] += len(table) - int(pc.sum(usable).as_py() or 0)
        table = table.filter(usable)
        names = pc.binary_join_element_wise(table["entity"], table["metric"], "\n").combine_chunks().dictionary_encode()
        ends = [text.split("\n") for text in names.dictionary.to_pylist()]
        return _Rows(
            names.dictionary.to_pylist(),
            pa.array([end[0] for end in ends], pa.utf8()),
            pa.array([end[1] for end in ends], pa.utf8()),
            names.indices.to_numpy().astype(np.int64),
            table["timestamp"].cast(pa.int64()).to_numpy() / 1e9,
            table["value"].to_numpy(),
            table["capacity"].to_numpy().astype(float),
            pc.fill_null(table["epoch"], -1).to_numpy(),
        )

    def chunks(self, forecasts: Exhaustion) -> int:
        """In how many parts there is room for the series."""
        return -(-len(self.names) // forecasts.settings.series)

    def of_series(self, which: I64) -> "_Rows":
        """The rows of these series alone."""
        if len(which) == len(self.names):
            return self
        inside = np.isin(self.series, which)
        return _Rows(
            [self.names[at] for at in which],
            self.entities.take(pa.array(which)),
            self.metrics.take(pa.array(which)),
            np.searchsorted(which, self.series[inside]),
            self.times_s[inside],
            self.values[inside],
            self.capacities[inside],
            self.epochs[inside],
        )

    def turns(self) -> list[I64]:
        """Rows in turns, each with at most one reading of a series, in order of time."""
        order = np.lexsort((self.times_s, self.series))
        starts = np.flatnonzero(np.diff(self.series[order], prepend=-1))
        number = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        return [order[number == turn] for turn in range(int(number.max()) + 1)] if len(order) else []


def _merged(before: dict[str, F64], new: dict[str, F64]) -> dict[str, F64]:
    """The newer word on a series replaces the older one."""
    if not before:
        return new
    stays = ~np.isin(before["place"], new["place"])
    return {key: np.concatenate([before[key][stays], new[key]]) for key in new}


def _reaching(chance: F64, horizons_s: F64, level: float) -> F64:
    """When the chance first reaches a level, between horizons in proportion; NaN: not within them."""
    grid = np.concatenate([np.zeros((len(chance), 1)), chance], axis=1)
    times = np.concatenate([[0.0], horizons_s])
    over = grid[:, 1:] >= level
    first = np.argmax(over, axis=1)
    rows = np.arange(len(chance))
    low, high = grid[rows, first], grid[rows, first + 1]
    share = np.clip((level - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    out = times[first] + share * (times[first + 1] - times[first])
    return np.where(over.any(axis=1), out, np.nan)


def _middles_of_few(values: F64) -> F64:
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    return np.where(count > 0, ordered[np.arange(len(ordered)), np.maximum(count - 1, 0) // 2], np.nan)
