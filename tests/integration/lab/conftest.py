"""A real cluster for a whole session, a namespace for each test, the shop, and scenarios by name and seed.

The lab that the tests bring up is called `test` (or LOOMIDI_TEST_LAB) and is taken down at the end. What is missing is
said, once, as the reason of the skips. One run of the tests at a time has these labs: the names are fixed, and `up`
takes down what has its name.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi_lab import images, staging
from loomidi_lab import shop as shops
from loomidi_lab.cluster import Lab, UpSettings, down, raising, up
from loomidi_lab.cluster.places import cache
from tests.integration.helm import charts
from tests.rungs import ran

NAME = os.environ.get("LOOMIDI_TEST_LAB", "test")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder is a lab test, with the time that a cluster needs; what is slow is the long part."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.lab_long)
            if {"cluster", "buildable"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.required)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(420))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While the block runs, no other run of tests has the labs. Fails where one has them."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())  # of all its workers
    place = cache() / "tests.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.truncate(0)
            print(run, Path.cwd(), file=held, flush=True)
        except BlockingIOError:
            held.seek(0)
            other = held.read().split() or ["", "another folder"]
            if other[0] != run:
                pytest.fail(f"the tests in {other[1]} have the labs of this machine; wait for their end")
        yield


@pytest.fixture(scope="session")
def buildable() -> Iterator[None]:
    """Skips when this machine cannot have a lab, saying why; fails when another run of the tests has them."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    if not shutil.which("go"):
        pytest.skip("the lab is built by Go, which is missing")
    try:
        raising.check(UpSettings(name=NAME))
    except LoomidiError as error:
        pytest.skip(f"no lab here: {error}")
    with alone():
        yield


@pytest.fixture(scope="session")
def cluster(buildable: None) -> Iterator[Lab]:
    """Two real nodes, bridge network."""
    down(NAME)
    up(UpSettings(name=NAME))
    lab = Lab.open(NAME)
    ran("Kubernetes", f"{lab.api.get('/version')['gitVersion']} (two nodes)")
    yield lab
    lab.close()
    down(NAME)


@pytest.fixture(scope="session")
def imaged(cluster: Lab) -> Lab:
    """The cluster, its nodes with the image of this checkout; and there is a helm."""
    if why := charts.lacking():
        pytest.skip(f"no helm here: {why}")
    ran("helm", charts.helm().split("/")[-2])
    images.build(["loomidi"], progress=lambda _: None)
    cluster.load_images(["lab.loomidi.io/loomidi:1"])
    return cluster


@pytest.fixture
def namespace(cluster: Lab) -> Iterator[str]:
    """A Kubernetes namespace of the test's own, deleted afterwards (its end is not waited for)."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    until = time.monotonic() + 30
    while not cluster.api.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"):
        assert time.monotonic() < until, "no default service account after 30 s"
        time.sleep(0.1)
    yield name
    cluster.api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def shop(cluster: Lab) -> "shops.Shop":
    """The sample application, ready; it goes with the cluster."""
    deployed = shops.deploy(cluster, progress=lambda _: None)
    deployed.wait_ready(180)
    return deployed


@pytest.fixture
def scenario(cluster: Lab) -> Callable[..., "staging.Occurrence"]:
    """Run a scenario by name and seed on the cluster and give back what happened."""
    return lambda name, seed=1, **more: staging.run(cluster, staging.draw(staging.load(name), seed), **more)
