"""Faults on the shop that Loomidi heals by itself: found, folded, the trouble over, and everything taken back."""

from typing import Any

import pytest

from loomidi_lab.cluster import Lab
from loomidi_lab.healing.comparing import heal

pytestmark = pytest.mark.slow

ANSWERS = {
    "scan-services": "ISOLATE_POD pod/tenants/",
    "cpu-saturation": "SCALE_OUT workload/shop/",
    "bad-rollout-crash": "ROLLBACK workload/shop/",
    "syn-flood": "RECONFIGURE_NETWORK ",
    "node-pressure": "EVICT pod/shop/",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_fault_is_answered_by_itself_and_what_was_done_is_taken_back(cluster: Lab, shop: Any, name: str) -> None:
    healed = heal(cluster, name, 1, with_loomidi=True, say=print)
    assert any(fold.startswith(ANSWERS[name]) for fold in healed.folds), healed.folds
    assert healed.folded_s is not None, healed.folds
    assert healed.taken_back, healed.folds
