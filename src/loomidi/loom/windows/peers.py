"""Who has met whom before: the bounded memory behind new-peer ratios.

Called by `closing`, once a pane. In: pairs of a pane, the memory so far. Out: the memory after it, and for pairs of a
window which are new. A pair is new in a window when it was first met in it, or so long ago that it is forgotten.
"""

import polars as pl

from loomidi.loom.windows.specifications import SECOND_NS, WindowSettings

PAIR = ["source", "destination"]
NO_PEERS = pl.DataFrame(
    schema={"source": pl.String, "destination": pl.String, "first_ns": pl.Int64, "last_ns": pl.Int64},
)
"""Pairs with the beginning of the first and of the last pane in which they met."""


def remembered(
    peers: pl.DataFrame, pairs: pl.DataFrame, start_ns: int, settings: WindowSettings
) -> tuple[pl.DataFrame, int]:
    """The memory after the pane that begins at `start_ns`, and how many pairs there was no room for."""
    horizon = start_ns - settings.remember_s * SECOND_NS
    met = pairs.select(PAIR).unique().with_columns(first_ns=pl.lit(start_ns), last_ns=pl.lit(start_ns))
    known = pl.concat([peers.filter(pl.col("last_ns") >= horizon), met])
    known = known.group_by(PAIR).agg(pl.col("first_ns").min(), pl.col("last_ns").max())
    crowded = max(len(known) - settings.max_peers, 0)
    if crowded:
        known = known.sort("last_ns", *PAIR, descending=[True, False, False]).head(settings.max_peers)
    return known, crowded


def newly(peers: pl.DataFrame, pairs: pl.DataFrame, start_ns: int) -> pl.Series:
    """For each of `pairs` whether it was first met at `start_ns` or later, or is not in memory."""
    known = pairs.select(PAIR).join(peers, on=PAIR, how="left", maintain_order="left")["first_ns"]
    return known.is_null() | (known >= start_ns)
