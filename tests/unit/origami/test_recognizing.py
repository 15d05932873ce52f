"""What unusual edges are called: the patterns of our rules at their limits, their look-alikes not."""

import numpy as np
import pytest

from loomidi.origami.scoring.recognizing import Recognized, recognized
from tests.unit.origami.picturing import Row, batch, edge, scan, usual

SILENT = {"payload_octet_count": 0, "reverse_payload_octet_count": 0}


def called(rows: list[Row], unusual: int | None = None) -> Recognized:
    """With the row of that number as unusual, all of them by default."""
    which = np.ones(len(rows), bool)
    if unusual is not None:
        which[:] = False
        which[unusual] = True
    return recognized(batch(rows), which, 60.0)


def test_a_scan_of_ports_has_its_technique_and_both_ends() -> None:
    found = called(scan())
    assert (found.pattern, found.entities) == ("vertical_scan", ("host/203.0.113.66", "host/10.0.0.7"))
    assert found.techniques
    assert [(one.name, one.value) for one in found.evidence] == [("ports", 40)]


def test_a_sweep_over_hosts_is_a_horizontal_scan_of_its_source() -> None:
    rows = [edge("pod/shop/web-0", f"10.0.1.{at}", 445, **SILENT) for at in range(1, 40)]
    found = called(rows)
    assert (found.pattern, found.entities) == ("horizontal_scan", ("pod/shop/web-0",))


def test_many_half_open_connections_are_a_flood_of_the_service() -> None:
    flood = {"unanswered_flow_count": 1900, **SILENT}
    found = called([edge(f"203.0.113.{at}", "10.0.0.7", 80, flows=2000, **flood) for at in range(1, 9)])
    assert found.pattern == "syn_flood"
    assert found.entities[1] == "service/10.0.0.7:80/tcp"


def test_much_more_out_than_in_is_a_leak_to_the_far_end() -> None:
    sent = {"payload_octet_count": 20_000_000, "reverse_payload_octet_count": 1000}
    found = called([edge("pod/shop/db-0", "8.8.4.4", 443, **sent)])
    assert (found.pattern, found.entities) == ("exfiltration", ("pod/shop/db-0", "host/8.8.4.4"))


def test_calls_in_an_even_beat_are_beaconing() -> None:
    beat = {"flow_start_gap_count": 19, "flow_start_gap_mean_ns": 10e9, "flow_start_gap_variation": 0.05}
    assert called([edge("pod/shop/db-0", "8.8.4.4", 443, flows=20, **beat)]).pattern == "beaconing"


@pytest.mark.parametrize(
    "rows",
    [
        scan(ports=10),
        [edge("203.0.113.66", "10.0.0.7", 1000 + at) for at in range(40)],  # answered
        [edge("pod/shop/db-0", "10.0.0.9", 443, payload_octet_count=20_000_000, reverse_payload_octet_count=9)],
        [edge("pod/shop/db-0", "8.8.4.4", 443, payload_octet_count=20_000_000, reverse_payload_octet_count=9_000_000)],
        [edge("203.0.113.5", "10.0.0.7", 80, flows=5000)],
    ],
    ids=["few ports", "open ports", "a backup inside", "a call with answers", "a busy server"],
)
def test_look_alikes_are_only_unusual(rows: list[Row]) -> None:
    found = called(rows)
    assert (found.pattern, found.techniques) == ("unusual", ())


def test_a_pattern_that_no_unusual_edge_is_part_of_is_not_told() -> None:
    assert called(scan() + usual(1), unusual=45).pattern == "unusual"
