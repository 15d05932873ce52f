"""What is read from the lake: whom a fold would meet, and what the pipeline has found; and the graph of a snapshot."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts import Match
from loomidi.garden.graph import EntityGraph
from loomidi.loom.lake import Committer
from loomidi.services.shared.findings import finding_row
from loomidi.services.transformer_api.graphs import Edge, SnapshotGraph, edges_of, lake_graph
from tests.unit.ionic.making import a_finding
from tests.unit.loom.lake import batches
from tests.unit.origami.picturing import batch, edge
from tests.unit.services.transforming import Service

EDGES = (
    Edge("203.0.113.9", "10.0.0.1", 80, 6, 10, 100, 1000),
    Edge("203.0.113.9", "10.0.0.2", 443, 6, 1, 10, 500),
    Edge("10.0.0.2", "8.8.4.4", 53, 17, 2, 4, 300),
    Edge("2001:db8::1", "10.0.0.1", 80, 6, 1, 1, 200),
)
GRAPH = SnapshotGraph(EDGES)


@pytest.mark.parametrize(
    ("match", "flows", "peers"),
    [
        (Match(source="203.0.113.9"), 11, {"203.0.113.9"}),
        (Match(source="203.0.113.0/24", destination="10.0.0.1"), 10, {"203.0.113.9"}),
        (Match(destination="10.0.0.1", destination_port=80), 11, {"203.0.113.9", "2001:db8::1"}),
        (Match(source="10.0.0.2"), 3, {"10.0.0.2"}),  # what it sends, and what it answers
        (Match(protocol=17), 2, {"10.0.0.2"}),
        (Match(source="192.0.2.1"), 0, set()),
        (Match(), 14, {"203.0.113.9", "10.0.0.2", "2001:db8::1"}),
    ],
)
def test_a_match_meets_the_edges_that_it_covers_in_either_direction(match: Match, flows: int, peers: set[str]) -> None:
    touched = GRAPH.touching(match)
    assert (touched.flows, set(touched.peers), touched.peer_count) == (flows, peers, len(peers))
    assert touched.total_octets == 2000


def test_an_end_that_nobody_gave_an_address_counts_as_met() -> None:
    graph = SnapshotGraph((*EDGES, Edge("", "10.0.0.9", 80, 6, 5, 5, 50)))
    touched = graph.touching(Match(source="203.0.113.9"))
    assert (touched.flows, touched.peer_count, touched.peers) == (16, 2, ("203.0.113.9",))


def test_addresses_of_nodes_and_addresses_as_names_are_the_ends_of_edges() -> None:
    rows = [edge("pod/shop/web-0", "8.8.4.4", 443), edge("pod/shop/db-0", "pod/shop/web-0", 80)]
    found = edges_of(batch(rows), {"pod/shop/web-0": "10.0.0.1"})
    assert [(one.source, one.destination) for one in found] == [("10.0.0.1", "8.8.4.4"), ("", "10.0.0.1")]
    assert dataclasses.astuple(found[0])[2:] == (443, 6, 1, 20, 2700)


def test_the_graph_of_the_lake_is_that_of_its_flows_in_the_time_before(tmp_path: Path) -> None:
    early, late = (batches.flows(300, at_ns=batches.START_NS + at * 10**9, seed=at) for at in (0, 600))
    with batches.lake_in(tmp_path) as lake, Committer(lake, "flows") as committer:
        for at, made in enumerate((early, late)):
            message = batches.message(batches.envelope(made, at, stream="flows"), at)
            committer.take([message])
        committer.commit()
        graph = lake_graph(lake, batches.START_NS + 660 * 10**9, 300.0, 1000)
        assert graph is not None
        assert graph.touching(Match()).octets == whole(late)
        assert lake_graph(lake, batches.START_NS - 1, 300.0, 1000) is None


def test_of_each_finding_the_lake_s_last_word_is_heard_and_only_once(tmp_path: Path) -> None:
    service = Service(tmp_path)
    now_ns = service.clock.now_ns()
    told = [("a", "new", now_ns - 9), ("b", "new", now_ns - 8), ("a", "over", now_ns - 1), ("c", "new", 1)]
    rows = [finding_row(a_finding(id=name), state, (), at_ns) for name, state, at_ns in told]
    with batches.lake_in(tmp_path) as lake, Committer(lake, "findings") as committer:
        made = [batches.message(batches.envelope(row, at, stream="findings"), at) for at, row in enumerate(rows)]
        committer.take(made)
        committer.commit()
    for _ in range(2):
        service.desk.following.look()
    heard = [(one["finding_id"], one["state"]) for one in service.get("/findings").json()["findings"]]
    assert heard == [("a", "over"), ("b", "new")]  # the third is of long ago
    assert service.desk.following.counts == {"read": 2, "heard": 2}


def whole(flows: pa.RecordBatch) -> int:
    graph = EntityGraph()
    graph.absorb(flows)
    return graph.touching(Match()).octets


def test_without_a_lake_there_is_no_graph(tmp_path: Path) -> None:
    assert lake_graph(None, 0, 1.0, 1) is None
    assert lake_graph(batches.lake_in(tmp_path), 0, 1.0, 1) is None
