"""The shop's users while a recording is made.

Called by the recorder. In: the lab, a schedule (its `load` is a profile of `loomidi_lab.shop.load`), the stream
`requests`. Out: a context in which users come, their requests recorded.
"""

import contextlib
import dataclasses
import difflib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi_lab.recording.acting import Say
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.planning import BadPlan, Schedule
from loomidi_lab.recording.sources.requesting import Requests
from loomidi_lab.recording.sources.working import Workers

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.shop.load import LoadProfile
    from loomidi_lab.staging.stages import Shop


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What runs while the context is open."""

    shop: "Shop"  # answers what symptoms ask of the users' requests


def profile(load: Mapping[str, Any]) -> "LoadProfile":
    """From a plan's `load`. Raises BadPlan with the key that is wrong."""
    from loomidi_lab.shop.load import LoadProfile

    keys = [field.name for field in dataclasses.fields(LoadProfile)]
    for key, value in load.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            raise BadPlan(f"load: unknown key `{key}`; use {near[0] if near else ', '.join(keys)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadPlan(f"load: `{key}` must be a number, found {value!r}")
    try:
        return LoadProfile(**load).checked()
    except UsageError as error:
        raise BadPlan(str(error)) from error


def ready_shop(lab: "Lab", progress: Say) -> None:
    """Deploy the shop when it is not there, and wait until it is ready. Raises Retryable when it does not get ready."""
    from loomidi_lab.shop import deploy, find

    try:
        shop = find(lab)
    except EnvironmentLacks:
        shop = deploy(lab, progress=progress)
    progress("waiting for the shop")
    shop.wait_ready()


@contextlib.contextmanager
def begin_load(lab: "Lab", schedule: Schedule, stream: Stream, workers: Workers) -> Iterator[Load]:
    """Users come from now on; at the end they are stopped and the last lines are read."""
    from loomidi_lab.shop import find
    from loomidi_lab.shop.load import Load as Generator

    shop = find(lab)
    with tempfile.TemporaryDirectory(prefix="loomidi-load-") as folder:
        generator = Generator(lab, shop, profile(schedule.plan.load), schedule.seed, Path(folder))
        requests = Requests(generator.requests, stream, workers)
        generator.start()
        requests.start()
        try:
            yield Load(requests)
        except BaseException:
            generator.drop()
            raise
        else:
            generator.stop()
        finally:
            requests.stop()
