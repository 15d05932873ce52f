"""Small systems with an hour of past and three bad minutes, for root causes: only the signals that a test names."""

import numpy as np
import pyarrow as pa

from loomidi.origami.causes import CALLS, PLACES, SIGNALS, Observed, Role, Window

START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000
PAST, BAD = 60, 3
WINDOW = Window(START_NS, START_NS + BAD * MINUTE_NS)
_SIGNALS = {Role.CLIENT: "call", Role.SERVER: "call"}  # the two sides of one thing
Told = tuple[str, str, Role, float, float]  # entity, peer, role, usual, now


def system(
    told: list[Told],
    calls: tuple[tuple[str, str], ...] = (),
    places: tuple[tuple[str, str], ...] = (),
    remote: tuple[str, ...] = (),
) -> Observed:
    """Each signal wavers by two per cent about what is usual, then is what it is now."""
    rows = [
        (START_NS + at * MINUTE_NS, entity, peer, _SIGNALS.get(role, role.value), role.value, value, None)
        for number, (entity, peer, role, usual, now) in enumerate(told)
        for at, value in zip(range(-PAST, BAD), _values(number, usual, now), strict=True)
    ]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SIGNALS, strict=True)]
    return Observed(
        pa.table(arrays, schema=SIGNALS), _pairs(calls, CALLS), _pairs(places, PLACES), remote=frozenset(remote)
    )


def _values(number: int, usual: float, now: float) -> list[float]:
    wavering = 1 + 0.02 * np.random.default_rng(number).standard_normal(PAST + BAD)
    return [*(usual * wavering[:PAST]), *(now * wavering[PAST:])]


def _pairs(pairs: tuple[tuple[str, str], ...], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1)], schema=schema)
