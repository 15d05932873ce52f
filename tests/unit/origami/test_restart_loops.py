"""Containers that crash again and again are told with their next start; those that restart now and then are not."""

import datetime as dt
from typing import Any

from loomidi.contracts import Finding
from loomidi.origami.forecasts import Restarts, RestartSettings
from loomidi.origami.online import ClusterState

NOW_S = 1_790_000_000.0
Object = dict[str, Any]


def stamp(at_s: float) -> str:
    return dt.datetime.fromtimestamp(NOW_S + at_s, dt.UTC).isoformat()


def pod(count: int, begun_s: float, ended_s: float, running_s: float | None = None) -> Object:
    state = {"running": {"startedAt": stamp(running_s)}} if running_s is not None else {"waiting": {"reason": "x"}}
    last = {"terminated": {"startedAt": stamp(begun_s), "finishedAt": stamp(ended_s)}}
    owners = [{"kind": "ReplicaSet", "name": "cart-1", "controller": True}]
    status = {"name": "cart", "restartCount": count, "state": state, "lastState": last}
    metadata = {"name": "cart-1-a", "namespace": "shop", "uid": "u1", "ownerReferences": owners}
    return {"metadata": metadata, "status": {"containerStatuses": [status]}}


def looked(ends: list[tuple[float, float]], restarts: Restarts | None = None) -> list[Finding]:
    restarts = restarts or Restarts()
    found: list[Finding] = []
    for count, (begun, ended) in enumerate(ends, 1):
        found = restarts.look(ClusterState(round((NOW_S + ended + 1) * 1e9), pods=[pod(count, begun, ended)]))
    return found


DOUBLING = [(0.0, 5.0), (15.0, 20.0), (40.0, 45.0), (85.0, 90.0)]  # pauses 10, 20, 40


def test_pauses_that_double_are_a_loop_with_a_next_start() -> None:
    (finding,) = looked(DOUBLING)
    assert (finding.pattern, finding.entities) == ("restart_loop", ("pod/shop/cart-1-a", "replicaset/shop/cart-1"))
    evidence = {one.name: one.value for one in finding.evidence}
    assert evidence["pause_growth"] == 2.0
    assert evidence["next_start"] == 79.0  # 80 s after its end, one of which has passed


def test_two_ends_are_no_loop() -> None:
    assert looked(DOUBLING[:2]) == []


def test_a_beat_that_does_not_grow_is_somebodys_schedule() -> None:
    assert looked([(at, at + 50.0) for at in (0.0, 60.0, 120.0, 180.0, 240.0)]) == []


def test_pauses_that_have_grown_to_the_kubelets_longest_are_a_loop() -> None:
    assert len(looked([(at, at + 5.0) for at in (0.0, 305.0, 610.0, 915.0)])) == 1


def test_a_long_run_in_between_begins_the_count_anew() -> None:
    assert looked([*DOUBLING, (130.0, 5000.0), (5010.0, 5015.0)]) == []


def test_a_container_that_has_come_back_is_told_no_more() -> None:
    restarts = Restarts()
    assert looked(DOUBLING, restarts)
    back = ClusterState(round((NOW_S + 900) * 1e9), pods=[pod(4, 85.0, 90.0, running_s=170.0)])
    assert restarts.look(back) == []


def test_it_keeps_its_id_while_it_lasts() -> None:
    restarts = Restarts()
    (first,) = looked(DOUBLING[:3], restarts)
    (second,) = restarts.look(ClusterState(round((NOW_S + 91) * 1e9), pods=[pod(4, 85.0, 90.0)]))
    assert first.id == second.id


def test_memory_is_bounded() -> None:
    restarts = Restarts(RestartSettings(containers=2))
    for uid in range(5):
        one = pod(1, 0.0, 5.0)
        one["metadata"]["uid"] = str(uid)
        restarts.look(ClusterState(round((NOW_S + 6) * 1e9), pods=[one]))
    assert len(restarts._ends) == 2
