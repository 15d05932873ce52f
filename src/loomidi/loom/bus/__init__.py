"""The bus: envelopes carried durably, in memory, by NATS JetStream or by Apache Kafka.

Called by `services` and the verbs. In: `BusSettings`. Out: a `contracts.streams.Bus` of the kind that its URL names.
Leaves what is in an envelope to `envelopes` and what to do when it is away to `publishing`. Names are bound on first
use: who needs the memory bus loads no client library.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi.loom.bus.envelopes import BadBatch
    from loomidi.loom.bus.opening import open_bus
    from loomidi.loom.bus.publishing import Publisher
    from loomidi.loom.bus.settings import BusSettings, PublisherSettings
    from loomidi.loom.bus.standings import TendedBus

_HOMES = {
    "BadBatch": "envelopes",
    "BusSettings": "settings",
    "Publisher": "publishing",
    "PublisherSettings": "settings",
    "TendedBus": "standings",
    "open_bus": "opening",
}
__all__ = [
    "BadBatch",
    "BusSettings",
    "Publisher",
    "PublisherSettings",
    "TendedBus",
    "open_bus",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name. Raises AttributeError for others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
