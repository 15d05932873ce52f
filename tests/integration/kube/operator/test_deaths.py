"""The operator is killed at each of its writes, and replicas take over: every Fold ends, the cluster matches it."""

import pytest

from loomidi.contracts import Mode
from loomidi.fold.operator import FAULTS
from tests.integration.kube.operator.stages import Stage
from tests.integration.kube.rooms import wait

# Around effects in every run, the other writes in the long one (`make lab-test`); in memory all of them, always.
EFFECTS = ("intent", "applied", "undone")
CASES = [pytest.param(name, marks=() if name.startswith(EFFECTS) else pytest.mark.lab_long) for name in FAULTS]


@pytest.mark.slow
@pytest.mark.parametrize("fault", CASES)
def test_killed_at_any_write_and_restarted_the_folds_end_and_the_cluster_matches_them(stage: Stage, fault: str) -> None:
    stage.by_hand = fault.startswith(("held", "approved"))  # else both are written with what comes after them
    acting = [stage.propose(stage.scale(ttl_s=4)), stage.propose(stage.block(ttl_s=4))]
    shadow = stage.propose(stage.block(app="none"), Mode.SHADOW, lasts_s=8)
    with stage.process("first", fault) as first:
        assert first.wait(40) == -9
    with stage.process("second"):
        stage.settle(*acting, shadow)
        for plan in acting:
            stage.reaches(plan, "Released", "RolledBack")
    assert stage.phase(shadow) == "Expired", stage.status(shadow)
    assert stage.as_before()
    assert all("intent" in [one["step"] for one in stage.status(plan)["receipts"]] for plan in acting)


def test_of_two_replicas_one_acts_and_the_other_takes_over_when_it_is_killed(stage: Stage) -> None:
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{stage.namespace}/leases/loomidi-operator"

    def leads(name: str) -> bool:
        return bool((stage.room.look.get(lease) or {"spec": {}})["spec"].get("holderIdentity") == name)

    with stage.process("one") as one:
        wait(lambda: leads("one"), "one leads", 20)
        with stage.process("two"):
            plan = stage.propose(stage.scale())
            stage.reaches(plan, "Active")
            before = stage.status(plan)["lease"]
            one.kill()
            wait(lambda: leads("two"), "two leads", 20)
            stage.annotate(plan, {"loomidi.io/release": "enough"})
            stage.reaches(plan, "Released")
    after = stage.status(plan)["lease"]
    assert (before["holder"], after["holder"]) == ("one", "two")
    assert after["token"] > before["token"]
    assert stage.as_before()
