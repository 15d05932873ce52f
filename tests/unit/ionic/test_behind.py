"""A driver without a fence, behind one: what an engine drives on a cluster where no operator does."""

import pytest

from loomidi.ionic.act import BehindFence, DryRunDriver, Engine, MemoryReceipts
from loomidi.ionic.act.fencing import Fence
from loomidi.ionic.errors import Fenced
from tests.unit.ionic.acting import SIGNER, approved
from tests.unit.ionic.making import a_clock, a_plan


def behind(fence: Fence | None = None) -> BehindFence:
    clock = a_clock()
    return BehindFence(DryRunDriver(SIGNER, clock=clock), SIGNER, clock=clock, fence=fence)


def test_an_older_token_and_one_that_was_taken_back_have_no_effect() -> None:
    driver = behind()
    older, newer = driver.token(), driver.token()
    driver.apply(a_plan(), approved(a_plan()), newer)
    with pytest.raises(Fenced):
        driver.apply(a_plan("rate"), approved(a_plan("rate")), older)
    closed = {"rule_id": 1, "target": a_plan().fold.target, "token": driver.token()}
    driver.undo(closed)
    with pytest.raises(Fenced):
        driver.apply(a_plan("rate"), approved(a_plan("rate")), closed["token"])
    assert driver.verify(a_plan())["holds"]
    assert not driver.verify(a_plan("rate"))["holds"]


def test_of_two_engines_that_share_a_fence_the_one_that_began_later_wins() -> None:
    fence, clock = Fence(), a_clock()
    drivers = [behind(fence), behind(fence)]
    first, second = (Engine(MemoryReceipts(clock=clock), [one], SIGNER, clock=clock) for one in drivers)
    slow = drivers[0].token()
    assert second.carry_out(a_plan(), approved(a_plan())).step.value == "verified"
    with pytest.raises(Fenced):
        drivers[0].apply(a_plan(), approved(a_plan()), slow)
    assert first.open_leases() == ()


def test_a_life_through_the_engine_ends_where_it_began() -> None:
    driver, clock = behind(), a_clock()
    engine = Engine(MemoryReceipts(clock=clock), [driver], SIGNER, clock=clock)
    engine.carry_out(a_plan(), approved(a_plan()))
    assert driver.verify(a_plan())["holds"]
    assert engine.undo(a_plan().id).step.value == "undone"
    assert not driver.verify(a_plan())["holds"]


def test_it_has_the_name_and_the_answers_of_the_driver_within() -> None:
    within = DryRunDriver(SIGNER, clock=a_clock())
    driver = BehindFence(within, SIGNER)
    assert (driver.name, driver.check(a_plan().fold)) == (within.name, within.check(a_plan().fold))
    assert dict(driver.inverse(a_plan().fold)) == dict(within.inverse(a_plan().fold))
