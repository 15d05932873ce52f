"""The flows of the last hour held against a fold: what it would have cut, asked of the lake.

Called by `folding` before a Fold is posted, and by `loomidi fold radius`. In: the lake, a fold, how far back. Out:
`Replay`, which says `unknown` and why where the lake is away, is empty, holds too many pairs, or takes too long. The
sums are DuckDB's; what is met is left to `ionic.decide.replaying`.
"""

import dataclasses
import threading
from collections.abc import Sequence

import pyarrow as pa

from loomidi.contracts import FoldSpec, LoomidiError, Replay
from loomidi.contracts.streams import Stream
from loomidi.ionic.decide.radius import networks
from loomidi.ionic.decide.replaying import NAMES, REPLAYED, replayed, unknown
from loomidi.loom.lake import Lake, Query

_S = 10**9
_ENDS = ("source", "destination")


@dataclasses.dataclass(frozen=True, slots=True)
class LookBackSettings:
    """How far, and how much of it."""

    last_s: float = 3600.0
    # Before now.
    pairs: int = 300_000
    # Sums of flows that are held in memory, some 200 octets each; more are not cut short but said to be unknown.
    wait_s: float = 20.0
    # Until a question to the lake is given up.


def look_back(
    lake: Lake,
    fold: FoldSpec,
    protected: Sequence[str] = (),
    settings: LookBackSettings | None = None,
    *,
    span: tuple[int, int] | None = None,
) -> Replay:
    """Never raises what the lake may raise: a radius that is not known is an answer. Raises ValueError for a bad CIDR.

    `span`: instead of the last while, from when until when, ns since the epoch.

    Steps: 1 sum flows by ends, port and names   2 count what they are of   3 hold the fold against them
    """
    settings, protected_nets = settings or LookBackSettings(), networks(protected)
    until_ns = lake.clock.now_ns()
    since_ns, until_ns = span or (until_ns - round(settings.last_s * _S), until_ns)
    try:
        if Stream.FLOWS.value not in lake.tables():
            return unknown("the lake holds no flows: run `loomidi run` with an agent, or name another lake")
        # 1 sums
        flows = _asked(lake, _sums(fold, settings.pairs + 1), since_ns, until_ns, settings.wait_s)
        # 2 of how many
        rows = _asked(lake, "select count(*) as n from flows", since_ns, until_ns, settings.wait_s)["n"][0].as_py()
    except LoomidiError as error:
        return unknown(str(error))
    if flows.num_rows > settings.pairs:
        return unknown(f"more than {settings.pairs} pairs of ends in that time: look at a shorter one")
    if not rows:
        return unknown(f"the lake holds no flows of those {(until_ns - since_ns) / _S:g} s: is an agent at work?")
    # 3 the fold
    return replayed(fold, flows.cast(REPLAYED), (since_ns, until_ns), protected_nets, rows=rows)


def _sums(fold: FoldSpec, most: int) -> str:
    """Source ports are kept apart only where the fold asks for one, -1 is any other: there are as many as flows."""
    asked = sorted({fold.match.source_port, fold.match.destination_port} - {0})
    apart = ", ".join(map(str, [0, *asked]))
    port = f"case when source_transport_port in ({apart}) then source_transport_port else -1 end"
    columns = [
        *(f"{end}_ip_address" for end in _ENDS),
        f"{port} as source_transport_port",
        "destination_transport_port",
        "protocol_identifier",
        *(f"{end}_{name}" for end in _ENDS for name in NAMES),
    ]
    counted = "count(*) as flows, sum(octet_delta_count + reverse_octet_delta_count) as octets"
    return f"select {', '.join(columns)}, {counted} from flows group by all limit {most}"  # noqa: S608 names of ours


def _asked(lake: Lake, sql: str, since_ns: int, until_ns: int, wait_s: float) -> pa.Table:
    """Raises InputError when it takes longer."""
    with Query(lake, sql, since_ns=since_ns, until_ns=until_ns) as asked:
        timer = threading.Timer(wait_s, asked.interrupt)
        timer.start()
        try:
            return asked.rows()
        finally:
            timer.cancel()
