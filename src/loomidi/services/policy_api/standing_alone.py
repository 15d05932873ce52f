"""The policy API in a process of its own: store, engines, probes, signals.

Called by `loomidi serve policy`. In: settings, the environment. Out: it serves until SIGINT or SIGTERM and answers what
is in progress. Raises what a person must mend: Conflict (port or folder in use), UsageError (open door),
EnvironmentLacks (a cluster or a file that is not there).
"""

from collections.abc import Callable, Iterator, Mapping

from loomidi.services.http.authority import Door
from loomidi.services.policy_api.desks import desk
from loomidi.services.policy_api.serving import PolicyApi
from loomidi.services.policy_api.settings import PolicySettings
from loomidi.services.shared.probes import Probes
from loomidi.services.shared.supervising import Part, Supervisor

Listening = Callable[[str, int], object]  # policy or probes, and its port


async def run(
    settings: PolicySettings,
    probes: Door | None,
    environment: Mapping[str, str],
    listening: Listening,
    fault: Callable[[str], None] = lambda _name: None,
) -> None:
    """Until a signal. `fault`: for crash tests, as of `Deployer`."""
    settings.door.check()  # before anything is opened
    with desk(settings, environment, fault) as made:
        api = PolicyApi(made, settings)
        await Supervisor(list(_parts(api, probes, listening))).run_until_signal()


def _parts(api: PolicyApi, probes: Door | None, listening: Listening) -> Iterator[Part]:
    """In the order of their start."""
    if probes is not None:
        served = Probes(ready=api.ready, samples=api.samples)
        yield Part("probes", lambda told: served.serve(probes, told, listening=lambda port: listening("probes", port)))
    yield Part("settle", api.settle)
    yield Part("policy", lambda told: api.run(told, listening=lambda port: listening("policy", port)))
