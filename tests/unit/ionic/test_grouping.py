"""Findings about one cause are one incident; a storm against one service is one, with a count; memory is bounded."""

from typing import Any

from loomidi.contracts import Evidence, Finding, FoldKind, Severity
from loomidi.ionic.decide import propose
from loomidi.ionic.decide.grouping import Grouped, Groups, GroupSettings
from loomidi.ionic.decide.proposing import FEW_SOURCES
from tests.unit.ionic.making import NOW_NS, a_finding

S = 10**9
SERVICE = "service/10.0.0.1:22/tcp"


def found(number: int, pattern: str = "brute_force", after_s: float = 0.0, **more: Any) -> Finding:
    """One source against the service, seen so long after the first."""
    at = NOW_NS + round(after_s * S)
    given: dict[str, Any] = {"entities": (f"host/192.0.2.{number}", SERVICE), "techniques": ("T1110",)}
    given |= {"first_ns": at, "last_ns": at, "id": f"finding-{pattern}-{number}"}
    return a_finding(pattern, **given | more)


def taken(groups: Groups, *findings: Finding, able: bool = True) -> list[Grouped]:
    return [groups.take(one, able=able) for one in findings]


def test_the_same_technique_against_the_same_service_is_one_incident() -> None:
    first, second = taken(Groups(), found(1), found(2, after_s=5))
    assert (first.incident, first.findings, first.sources) == (second.incident, 1, 1)
    assert (second.findings, second.sources, second.speaks) == (2, 2, True)


def test_another_technique_against_the_same_service_is_another_incident() -> None:
    first, second = taken(Groups(), found(1), found(2, "vertical_scan", techniques=("T1046",)))
    assert first.incident != second.incident


def test_one_source_that_does_two_things_is_one_incident_and_the_worse_speaks() -> None:
    mild = found(1, severity=Severity.MEDIUM)
    worse = found(1, "vertical_scan", after_s=5, techniques=("T1046",), severity=Severity.HIGH)
    first, second, third = taken(Groups(), mild, worse, mild)
    assert first.incident == second.incident == third.incident
    assert [one.speaks for one in (first, second, third)] == [True, True, False]


def test_who_speaks_and_is_not_seen_any_more_lets_another_one_speak() -> None:
    other = found(1, "vertical_scan", after_s=61, techniques=("T1046",))
    groups = Groups()
    assert [one.speaks for one in taken(groups, found(1), other)] == [True, True]
    assert groups.counts["spoken_for"] == 0


def test_the_same_that_is_found_anew_speaks_as_the_fold_of_the_one_before_may_be_over() -> None:
    groups = Groups()
    again = found(1, after_s=3, id="finding-of-the-next-window")
    first, second = taken(groups, found(1), again)
    assert first.incident == second.incident
    assert (first.speaks, second.speaks, second.findings) == (True, True, 2)


def test_who_has_no_fold_that_is_allowed_speaks_for_nobody_who_has_one() -> None:
    groups = Groups()
    groups.take(found(1), able=False)
    assert groups.take(found(1, "vertical_scan", after_s=1, techniques=("T1046",))).speaks
    assert not groups.take(found(1, after_s=2), able=False).speaks


def test_what_connects_two_incidents_makes_them_one_as_old_as_the_older() -> None:
    groups = Groups()
    one, two = found(1), found(2, entities=("host/192.0.2.2", "service/10.0.0.2:22/tcp"), after_s=1)
    first, second = taken(groups, one, two)
    both = groups.take(found(2, entities=("host/192.0.2.2", SERVICE), after_s=2, id="finding-both"))
    assert first.incident != second.incident
    assert (both.incident, both.findings, groups.counts["joined"]) == (first.incident, 3, 1)


def test_an_incident_that_was_quiet_is_over() -> None:
    first, later = taken(Groups(), found(1), found(1, after_s=301, id="finding-later"))
    assert first.incident != later.incident


def storm(count: int, pattern: str = "brute_force") -> Grouped:
    findings = [found(at, pattern, after_s=at, severity=Severity.HIGH) for at in range(1, count + 1)]
    return taken(Groups(), *findings)[-1]


def test_a_few_sources_are_answered_one_by_one_and_more_as_one() -> None:
    assert storm(FEW_SOURCES).storm is None
    told = storm(FEW_SOURCES + 6)
    assert told.storm is not None
    assert (told.storm.id, told.storm.entities[0], told.sources) == (told.incident, SERVICE, FEW_SOURCES + 6)
    assert told.storm.evidence[0] == Evidence(
        "sources", 9, FEW_SOURCES, "", "distinct sources against one service: one incident"
    )
    assert (told.storm.first_ns, told.storm.last_ns) == (NOW_NS + S, NOW_NS + 9 * S)


def test_the_folds_of_a_storm_protect_the_service_and_blame_no_single_source() -> None:
    told = storm(9)
    assert told.storm is not None
    (limit,) = propose(told.storm)
    assert (limit.kind, limit.action, limit.target) == (FoldKind.RECONFIGURE_NETWORK, "rate", SERVICE)
    assert (limit.match.source, limit.match.destination, limit.match.destination_port) == ("", "10.0.0.1", 22)
    flood = storm(9, "syn_flood")
    assert flood.storm is not None
    assert all(not one.target.startswith("host/") for one in propose(flood.storm))


def test_pods_that_act_are_no_storm_each_is_isolated_by_itself() -> None:
    pods = [found(at, entities=(f"pod/shop/web-{at}", SERVICE), after_s=at) for at in range(9)]
    assert [one.storm for one in taken(Groups(), *pods)] == [None] * 9


def test_memory_is_bounded_and_what_is_left_out_is_counted() -> None:
    groups = Groups(GroupSettings(open=4, actors=3))
    for at in range(8):
        groups.take(found(at, entities=(f"host/198.51.100.{at}", f"service/10.0.1.{at}:22/tcp")))
    assert groups.counts["crowded_out"] == 4
    told = taken(groups, *(found(at) for at in range(6)))
    assert [one.speaks for one in told] == [True] * 3 + [False] * 3
    assert (groups.counts["actors_unnamed"], told[-1].findings) == (3, 3)


def test_a_pod_of_ours_that_acts_is_isolated_however_many_sources_are_counted() -> None:
    many = Evidence("sources", 9, None, "", "distinct source addresses")
    own = found(1, entities=("pod/shop/web-0", SERVICE), evidence=(many,))
    assert [fold.kind for fold in propose(own)] == [FoldKind.ISOLATE_POD]
