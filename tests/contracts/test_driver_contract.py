"""What every driver must do: the dry run, the shield over each data plane that this machine has, and Kubernetes.

Only the kernel's own shield needs root; Kubernetes needs the lab's binaries; the others run everywhere.
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from loomidi.contracts import Approval, EnvironmentLacks, LoomidiError, Mode, Plan, Refused, Verdict
from loomidi.contracts.ports import Driver
from loomidi.ionic.act import BehindFence, DryRunDriver, ShieldDriver
from loomidi.ionic.act.kube import KubeApi, KubeDriver
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import Fenced
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield
from tests.integration.kube.servers import kube_server
from tests.unit.ionic.making import NOW_NS, a_clock, a_plan

SIGNER = Signer(b"s" * 32)
ALLOWED = (Verdict("floor", "ttl", True, ""),)


LINK = (f"lmd{os.getpid() % 100000}a", f"lmd{os.getpid() % 100000}b")  # a veth pair that exists for one test
Maker = Callable[[ManualClock, pytest.FixtureRequest], Driver]


def over_twin(clock: ManualClock, request: pytest.FixtureRequest) -> Driver:
    """The C twin; skips until the native library is built."""
    capture = pytest.importorskip("loomidi.loom.capture")
    try:
        twin = capture.TwinShield()
    except (ImportError, OSError, LoomidiError) as error:
        pytest.skip(f"no user-space twin: {error}")
    request.addfinalizer(twin.close)
    return ShieldDriver(twin, SIGNER, clock=clock)


def over_kernel(clock: ManualClock, request: pytest.FixtureRequest) -> Driver:
    """Real XDP on a veth of its own; skips where the kernel offers no rung."""
    capture = pytest.importorskip("loomidi.loom.capture")
    pair = ["ip", "link", "add", LINK[0], "type", "veth", "peer", "name", LINK[1]]
    made = subprocess.run(pair, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no veth pair: {made.stderr.strip()}")
    request.addfinalizer(lambda: subprocess.run(["ip", "link", "del", LINK[0]], check=False))
    try:
        shield = capture.open_shield(LINK[0])
    except EnvironmentLacks as error:
        pytest.skip(f"no kernel shield: {error}")
    request.addfinalizer(shield.close)
    return ShieldDriver(shield, SIGNER, clock=clock)


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A real API server; skips where its binaries are not built."""
    with kube_server(tmp_path_factory.mktemp("kube"), controllers=False) as server, server.admin() as client:
        yield client


def over_kubernetes(clock: ManualClock, request: pytest.FixtureRequest) -> Driver:
    """Real NetworkPolicies, gone after each test."""
    client: httpx.Client = request.getfixturevalue("kubernetes")
    policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    request.addfinalizer(lambda: client.delete(policies))
    return BehindFence(KubeDriver(KubeApi(client), SIGNER, clock=clock), SIGNER, clock=clock)


MAKERS: dict[str, Maker] = {
    "dry-run": lambda clock, request: DryRunDriver(SIGNER, clock=clock),
    "fake-shield": lambda clock, request: ShieldDriver(FakeShield(clock=clock), SIGNER, clock=clock),
    "twin-shield": over_twin,
    "kernel-shield": over_kernel,
    "kubernetes": over_kubernetes,
}
NAMED = [pytest.param(name, marks=pytest.mark.kernel) if name.startswith("kernel") else name for name in MAKERS]


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


@pytest.fixture(params=NAMED)
def driver(request: pytest.FixtureRequest, clock: ManualClock) -> Driver:
    return MAKERS[request.param](clock, request)


def approved(plan: Plan, approver: str = GUARDS, signer: Signer = SIGNER) -> Approval:
    return signer.sign(plan, ALLOWED, approver=approver, granted_ns=NOW_NS, expires_ns=plan.expires_ns)


def applied(driver: Driver, plan: Plan, approver: str = GUARDS) -> Mapping[str, Any]:
    """Apply as the engine does; returns the inverse to store."""
    inverse = dict(driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}
    driver.apply(plan, approved(plan, approver))
    return inverse


def holds(driver: Driver, plan: Plan) -> bool:
    return driver.verify(plan)["holds"] is True


def test_what_can_be_checked_can_be_done(driver: Driver) -> None:
    assert driver.check(a_plan().fold) is None
    assert isinstance(driver.name, str)


def test_before_it_is_applied_it_does_not_hold(driver: Driver) -> None:
    assert not holds(driver, a_plan())


@pytest.mark.parametrize("action", ["drop", "rate"])
def test_applied_it_holds_and_undone_it_does_not(driver: Driver, action: str) -> None:
    if driver.check(a_plan(action).fold) is not None:  # a NetworkPolicy has no rate
        return
    inverse = applied(driver, a_plan(action))
    assert holds(driver, a_plan(action))
    assert driver.undo(inverse)["undone"] is True
    assert not holds(driver, a_plan(action))


@pytest.mark.parametrize("action", ["drop", "rate"])
def test_what_cannot_be_checked_cannot_be_done(driver: Driver, action: str) -> None:
    if driver.check(a_plan(action).fold) is None:
        return
    with pytest.raises(Refused):
        applied(driver, a_plan(action))
    assert not holds(driver, a_plan(action))


def test_checking_and_asking_for_the_inverse_touch_nothing(driver: Driver) -> None:
    driver.check(a_plan().fold)
    driver.inverse(a_plan().fold)
    assert not holds(driver, a_plan())


def test_undoing_twice_is_undoing_once(driver: Driver) -> None:
    inverse = applied(driver, a_plan())
    assert [driver.undo(inverse)["undone"] for _ in range(2)] == [True, True]


def test_undoing_what_was_never_applied_is_no_error(driver: Driver) -> None:
    inverse = dict(driver.inverse(a_plan().fold)) | {"rule_id": rule_id(a_plan().id)}
    assert driver.undo(inverse)["undone"] is True


def test_applying_twice_is_applying_once(driver: Driver) -> None:
    inverse = applied(driver, a_plan())
    driver.apply(a_plan(), approved(a_plan()))
    driver.undo(inverse)
    assert not holds(driver, a_plan())


def test_shadow_is_refused_even_with_a_valid_approval(driver: Driver) -> None:
    plan = a_plan(mode=Mode.SHADOW)
    with pytest.raises(Refused, match="shadow"):
        driver.apply(plan, approved(plan))
    assert not holds(driver, plan)


def test_suggest_takes_a_persons_approval(driver: Driver) -> None:
    plan = a_plan(mode=Mode.SUGGEST)
    with pytest.raises(Refused, match="person"):
        driver.apply(plan, approved(plan))
    applied(driver, plan, "ada")
    assert holds(driver, plan)


@pytest.mark.parametrize("what", ["forged", "for another plan", "expired", "made up"])
def test_an_approval_that_does_not_verify_has_no_effect(driver: Driver, clock: ManualClock, what: str) -> None:
    plan = a_plan()
    approval = approved(plan, signer=Signer()) if what == "forged" else approved(plan)
    if what == "for another plan":
        approval = approved(a_plan("rate"))
    if what == "made up":
        approval = dataclasses.replace(approval, approver="ada")
    if what == "expired":
        clock.sleep(61)
    with pytest.raises(Refused):
        driver.apply(plan, approval)
    assert not holds(driver, plan)


def test_the_inverse_can_be_stored_as_json(driver: Driver) -> None:
    inverse = applied(driver, a_plan())
    assert driver.undo(json.loads(json.dumps(inverse)))["undone"] is True
    assert not holds(driver, a_plan())


def test_an_older_token_and_one_that_was_taken_back_have_no_effect(driver: Driver) -> None:
    if isinstance(driver, BehindFence):
        pytest.skip("a NetworkPolicy has no rate: tests/unit/ionic/test_behind.py asks the same with another plan")
    older, newer = driver.token(), driver.token()
    driver.apply(a_plan("rate"), approved(a_plan("rate")), newer)
    with pytest.raises(Fenced):
        driver.apply(a_plan(), approved(a_plan()), older)
    closed = dict(driver.inverse(a_plan().fold)) | {"rule_id": 1, "target": a_plan().fold.target}
    closed["token"] = driver.token()
    driver.undo(closed)
    with pytest.raises(Fenced):
        driver.apply(a_plan(), approved(a_plan()), closed["token"])
    assert holds(driver, a_plan("rate"))
    assert not holds(driver, a_plan())
