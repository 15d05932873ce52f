"""Whose short-window counters an entity id names: the bridge from findings and plans to the data plane's tables.

Called by the threshold driver and by `services`. In: ids such as `service/10.0.0.2:80/tcp`. Out: a `Watched`, or None.
"""

from loomidi.ionic.decide.places import place
from loomidi.loom.capture.own_limits import Watched


def watched_by(target: str) -> Watched | None:
    """Whose counters an entity id names; None when it names none that the data plane keeps."""
    there = place(target)
    if not there.address or "/" in there.address:
        return None
    if there.kind == "host":
        return Watched("source", there.address)
    if there.kind == "service" and there.port and there.protocol:
        return Watched("service", there.address, there.port, there.protocol)
    return None
