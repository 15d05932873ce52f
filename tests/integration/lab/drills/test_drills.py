"""A drill on a real cluster: one attack and one look-alike under one defence, against the same without it."""

from typing import Any

import pytest

from loomidi_lab.cluster import Lab
from loomidi_lab.drills.playing import play
from loomidi_lab.drills.scenes import guarded, users_only

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_an_attack_is_found_and_folded_and_a_look_alike_is_left_alone(cluster: Lab, shop: Any) -> None:
    with users_only(cluster, 1) as scene:
        off = play(scene, "scan-services", 1, print)
        assert off.confirmed, off.void_because
        assert not off.defended
        with guarded(scene, print) as held:
            attack, calm = (play(held, name, 1, print) for name in ("scan-services", "dns-retry-burst"))
    assert attack.detected_s is not None
    assert attack.right >= 1, attack.folds
    assert (attack.applied, attack.harmful) == (attack.undone, 0)
    assert calm.harmful == 0, calm.folds
