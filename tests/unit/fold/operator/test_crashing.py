"""A process that ends at any of its writes: the next one brings every Fold to an end that the world matches."""

import dataclasses

import pytest

from loomidi.contracts import Mode
from loomidi.fold.operator import FAULTS
from tests.unit.fold.operator.fakes import Stage, a_stage


class Killed(BaseException):
    """Nothing that catches Exception may catch it."""


@dataclasses.dataclass
class Killer:
    """Ends the process the first time that it passes this point."""

    wanted: str
    done: bool = False

    def __call__(self, name: str) -> None:
        if name == self.wanted and not self.done:
            self.done = True
            raise Killed(name)


def lived(stage: Stage, killer: Killer, most: int = 200) -> None:
    """Passes until it is at an end and free, each in a new process where the one before was killed."""
    stage.fault = killer
    for _ in range(most):
        again: float | None = 0.0
        try:
            again = stage.once()
        except Killed:
            continue
        if again is None and not stage.fold["metadata"].get("finalizers"):
            return
        stage.clock.sleep(again or 0.0)
    raise AssertionError(stage.fold["status"])


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_at_any_write_the_fold_still_ends_and_the_world_is_as_before(fault: str) -> None:
    ended = a_stage(Mode.SHADOW) if fault.startswith("ended") else a_stage()
    if fault.startswith("held"):
        ended.fold["metadata"].pop("finalizers")  # as one has it that a person wrote
    killer = Killer(fault)
    lived(ended, killer)
    assert killer.done
    assert ended.phase in ("Released", "Expired")
    assert not ended.driver.world


@pytest.mark.parametrize("fault", [name for name in FAULTS if name.startswith(("intent", "applied", "undone"))])
def test_killed_while_an_apply_fails_it_is_taken_back_or_goes_on(fault: str) -> None:
    stage = a_stage()
    stage.driver.failing = ["apply"]
    lived(stage, Killer(fault))
    assert stage.phase in ("RolledBack", "Released")
    assert not stage.driver.world


def test_every_effect_has_a_receipt_before_and_after_it_whatever_happened() -> None:
    for fault in FAULTS:
        stage = a_stage()
        lived(stage, Killer(fault))
        assert (stage.steps[0], stage.steps[-1]) == ("intent", "expired")
