"""`loomidi run` on the shop with its users: every scenario of the plan `smoke` is told, with its cause and in words.

One pipeline learns the shop for some minutes, as it does for a day elsewhere, is quiet for some, and then sees what the
plan may draw, one after the other. Learning is short, so that as many false incidents are put up with as such a slice
can bear out (a tenth of one in it), and the silence that ends an incident is short too. Nothing else differs from the
configuration of a cluster. No time decides: what is waited for has a bound, so that a miss is told as one.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from loomidi_lab.cluster import Lab
from loomidi_lab.drills.noticing import Noticing, noticing
from loomidi_lab.drills.scenes import learning
from loomidi_lab.drills.telling import Told, about, guilty, involved
from loomidi_lab.recording.planning import load_plan
from loomidi_lab.staging import loading

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SEED = 7
NAMES = [name for wish in load_plan("smoke").wishes for name in wish.names]
CALM = [name for name in NAMES if loading.load(name).category == "benign"]
WRONG = [name for name in NAMES if name not in CALM]
LEARNING = learning(8.0, quiet_s=60.0)
QUIET_S = 120.0  # of users and nothing else, after learning
TOLD_WITHIN_S = 60.0  # after the act: a window, its lateness, the silence that ends a flow, a busy machine


@pytest.fixture(scope="module")
def seen(cluster: Lab, shop: Any) -> Iterator[Noticing]:
    """A pipeline that knows the shop."""
    with noticing(cluster, LEARNING, SEED, print) as pipeline:
        pipeline.await_telling()
        yield pipeline


def alarms(told: list[Told]) -> list[Told]:
    """More than information."""
    return [one for one in told if one.alarm and one.state != "over"]


def shown(told: list[Told]) -> str:
    """For who reads why a test failed."""
    return "\n".join(one.line() for one in told) or "nothing was told"


def test_of_minutes_in_which_nothing_happens_nothing_is_told(seen: Noticing) -> None:
    began_ns = time.time_ns()
    time.sleep(QUIET_S)
    told = seen.told(began_ns)
    assert not alarms(told), shown(told)


@pytest.mark.parametrize("name", WRONG)
def test_an_attack_or_failure_is_told_with_its_cause_and_in_words(seen: Noticing, name: str) -> None:
    began_ns = time.time_ns()
    run = seen.play(name, SEED, print)
    assert run.valid, run.void_because
    everybody, cause = involved(run), guilty(run)

    def enough(told: list[Told]) -> bool:
        mine = about(told, everybody)
        return bool(alarms(mine)) and any(one.blames(cause) for one in mine)

    told = about(seen.await_told(began_ns, enough, TOLD_WITHIN_S), everybody)
    print(shown(told), "" if told else seen.figures(), sep="\n")
    assert alarms(told), shown(told)
    assert any(one.blames(cause) for one in told), shown(told)


def test_of_the_look_alikes_rules_tell_one_at_most_and_the_model_is_counted(seen: Noticing) -> None:
    """One is the bound of the issue: a dump to an address that was never seen before looks like exfiltration."""
    loud, strange = {}, []
    for name in CALM:
        began_ns = time.time_ns()
        run = seen.play(name, SEED, print)
        assert run.valid, run.void_because
        told = alarms(seen.await_told(began_ns, lambda _: False, TOLD_WITHIN_S / 2))
        told = [one for one in told if one.state == "new"]  # whoever it names; what goes on is not of this
        print(name, shown(told), sep="\n")
        if ruled := [one for one in told if one.pattern != "anomaly"]:
            loud[name] = ruled[0].line()
        strange += [name] * any(one.pattern == "anomaly" for one in told)
    print(f"by rules {len(loud)}, as strange to the model {len(strange)} of {len(CALM)}: {', '.join(strange)}")
    assert len(loud) <= 1, loud
