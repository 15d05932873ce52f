"""Which tests may run beside each other, and which follow one another because they share what there is once.

Called by `tests/conftest.py` where pytest-xdist runs (`make test`, `-n`); without it nothing of this happens. In: ids
of tests. Out: for each the name of its lane. The tests of a lane run on one worker in their order, with the fixtures of
a session made once. Long lanes start first, so that no worker is left alone with one at the end.
"""

from collections.abc import Sequence
from typing import Any

import pytest

# Each lane with the folders and files that share it. What is not named here is a lane by its file.
LANES: dict[str, tuple[str, ...]] = {
    # Links, namespaces and pinned maps of this machine, and the one cluster called `test`.
    "machine": (
        "tests/integration/lab/",
        "tests/integration/kernel/",
        "tests/integration/sources/",
        "tests/integration/watch/",
        "tests/integration/demo/",
        "tests/integration/captures/test_interfaces.py",
        "tests/integration/pipeline/test_faults.py",
        "tests/integration/pipeline/test_sources.py",
        "tests/contracts/test_driver_contract.py",
    ),
    # One API server with its controllers for each: it starts for ten seconds.
    "crd": ("tests/integration/kube/crd/",),
    "admission": ("tests/integration/kube/admission/",),
    "means": ("tests/integration/kube/means/",),
    "kube": ("tests/integration/kube/",),
    # One JVM of Flink beside one of Kafka is enough for two cores.
    "runners": ("tests/integration/runners/",),
    # Object stores that start for several seconds.
    "lake": ("tests/integration/lake/",),
    # The compiler of each policy, and an OPA server for each library.
    "opa": ("tests/integration/opa/", "tests/integration/engines/"),
    # Venues with a broker of each kind.
    "contracts": ("tests/contracts/",),
}
FIRST = (*LANES, "tests/integration/bus/", "tests/integration/", "tests/security/")  # the long ones, in this order


def lane(nodeid: str) -> str:
    """The lane of a test: the first that names a beginning of its id, or its file."""
    named = (name for name, places in LANES.items() if nodeid.startswith(places))
    return next(named, nodeid.split("::", 1)[0])


def urgency(nodeid: str) -> int:
    """Place in the order of starts; the smaller, the earlier."""
    own = lane(nodeid)
    return next((number for number, name in enumerate(FIRST) if own.startswith(name)), len(FIRST))


def scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out whole lanes, in the order in which they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return lane(nodeid)

    config.option.loadscopereorder = False
    return Lanes(config, log)


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The long lanes first; within a lane as collected."""
    return sorted(items, key=lambda item: urgency(item.nodeid))
