"""What the handlers work with: what is kept, the lake, the cluster, the reference, made from settings.

Called by `serving`'s `standing_alone`. In: settings, the environment. Out: one `Desk`, closed at the end. Raises what a
person must mend: Held (another service has the folder), EnvironmentLacks (no cluster, no file), UsageError.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.lake import Lake
from loomidi.loom.sources.clusters import access
from loomidi.services.folds.planning import check_protected
from loomidi.services.settings.answers import FoldingSettings
from loomidi.services.transformer_api.clusters import Cluster
from loomidi.services.transformer_api.following import Following
from loomidi.services.transformer_api.initiating import Initiating
from loomidi.services.transformer_api.learning import Learning
from loomidi.services.transformer_api.proposing import Proposing
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import FILE_NAME, Bounds, Shelf


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """Everything that a request may need."""

    shelf: Shelf
    learning: Learning
    following: Following
    proposing: Proposing
    initiating: Initiating
    cluster: Cluster | None
    clock: Clock


@contextlib.contextmanager
def desk(settings: TransformerSettings, environment: Mapping[str, str]) -> Iterator[Desk]:
    """Until the context ends."""
    check_protected(settings.protected)
    with contextlib.ExitStack() as held:
        cluster = _cluster(settings, environment, held)
        lake = held.enter_context(Lake(settings.lake))
        yield made(settings, lake, cluster, held)


def made(
    settings: TransformerSettings,
    lake: Lake,
    cluster: Cluster | None,
    held: contextlib.ExitStack,
    clock: Clock | None = None,
) -> Desk:
    """Of parts that are there; `held` closes what is opened here."""
    clock = clock or SystemClock()
    bounds = Bounds(settings.findings, settings.decisions, settings.keys)
    shelf = Shelf(settings.state / FILE_NAME, bounds)
    held.callback(shelf.close)
    proposing = Proposing(settings, lake, cluster, clock)
    return Desk(
        shelf=shelf,
        learning=Learning(settings, lake, clock),
        following=Following(shelf, settings, lake, clock),
        proposing=proposing,
        initiating=Initiating(settings, proposing, cluster),
        cluster=cluster,
        clock=clock,
    )


def folding(settings: TransformerSettings) -> FoldingSettings:
    """As `services.folds.folding` takes them."""
    return FoldingSettings(
        kubeconfig=settings.kubeconfig,
        mode=settings.mode,
        namespace=settings.namespace,
        protected=settings.protected,
        fresh_s=settings.fresh_s,
    )


def _cluster(
    settings: TransformerSettings, environment: Mapping[str, str], held: contextlib.ExitStack
) -> Cluster | None:
    """The one that is named; none unasked."""
    if not settings.kubeconfig:
        return None
    named = None if settings.kubeconfig == "auto" else Path(settings.kubeconfig).expanduser()
    client = held.enter_context(access(named, environment).blocking(settings.engine_s))
    return Cluster(client, folding(settings))
