"""The live entity graph: who talks to which service, from flow batches.

Called by `services` (which feeds it), `ionic.decide` (blast radius) and `insight` (picture). In: Arrow batches of
`contracts.schemas.FLOWS`. Out: `Entity`, `Edge`, `Touched`. The names are bound on first use: the fast lane needs
`service_id` without loading numpy and pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi.garden.graph.entities import EntityGraph, GraphSettings, Touched
    from loomidi.garden.graph.names import host_id, protocol_name, service_id

__all__ = ["EntityGraph", "GraphSettings", "Touched", "host_id", "protocol_name", "service_id"]

_HOMES = {
    "EntityGraph": "entities",
    "GraphSettings": "entities",
    "Touched": "entities",
    "host_id": "names",
    "protocol_name": "names",
    "service_id": "names",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
