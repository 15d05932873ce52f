"""The transformer API in a process of its own: store, lake, bus, cluster, probes, signals.

Called by `loomidi serve transformer`. In: settings, the environment. Out: it serves until SIGINT or SIGTERM and answers
what is in progress. Raises what a person must mend: Conflict (port or folder in use), UsageError (open door),
EnvironmentLacks (a cluster or a file that is not there).
"""

from collections.abc import Callable, Iterator, Mapping

from loomidi.services.http.authority import Door
from loomidi.services.shared.probes import Probes
from loomidi.services.shared.supervising import Part, Supervisor
from loomidi.services.transformer_api.desks import Desk, desk
from loomidi.services.transformer_api.serving import TransformerApi
from loomidi.services.transformer_api.settings import TransformerSettings

Listening = Callable[[str, int], object]  # transformer or probes, and its port


async def run(
    settings: TransformerSettings,
    probes: Door | None,
    environment: Mapping[str, str],
    listening: Listening,
    fault: Callable[[str], None] = lambda _name: None,
) -> None:
    """Until a signal. `fault`: for crash tests, as of `Handlers`."""
    settings.door.check()  # before anything is opened
    with desk(settings, environment) as made:
        api = TransformerApi(made, settings, fault)
        await Supervisor(list(_parts(api, made, probes, listening))).run_until_signal()


def _parts(api: TransformerApi, made: Desk, probes: Door | None, listening: Listening) -> Iterator[Part]:
    """In the order of their start."""
    if probes is not None:
        served = Probes(ready=api.ready, samples=api.samples)
        yield Part("probes", lambda told: served.serve(probes, told, listening=lambda port: listening("probes", port)))
    yield Part("learning", made.learning.run)
    yield Part("lake", made.following.from_lake)
    if api.settings.bus.url:
        yield Part("bus", made.following.from_bus)
        yield Part("windows", made.learning.collect)
    yield Part("transformer", lambda told: api.run(told, listening=lambda port: listening("transformer", port)))
