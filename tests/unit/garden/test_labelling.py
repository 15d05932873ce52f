"""Flows carry the names of their own moment: reuse of addresses, rollouts, drains; the join agrees with the book."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts.schemas import ENTITIES, FLOW_RECORDS, FLOWS
from loomidi.garden.graph.labelling import FlowNamer
from loomidi.garden.graph.naming import AddressBook, Row
from loomidi.loom.flows.recording import as_records
from tests.unit.origami.making import batch, flow

CART, OTHER = "10.244.1.5", "10.244.2.9"


def flows(*ends: tuple[str, str, int]) -> pa.RecordBatch:
    """Source, destination, end in ns."""
    made = batch([flow(source=source, destination=target) for source, target, _ in ends])
    columns = dict(zip(made.schema.names, made.columns, strict=True))
    kind = FLOWS.field("flow_end_nanoseconds").type
    columns["flow_end_nanoseconds"] = pa.array([end for *_, end in ends], kind)
    return as_records(
        pa.RecordBatch.from_arrays([columns[name] for name in FLOWS.names], schema=FLOWS), exporter="n1", link="eth0"
    )


def book(*rows: Row, slack_s: float = 0.0) -> AddressBook:
    made = AddressBook(slack_s=slack_s)
    for row in rows:
        made.add(row)
    return made


def pod(name: str, address: str = CART, **more: Any) -> Row:
    given = {"uid": f"uid-{name}", "owner_kind": "Deployment", "owner": "cart", "services": ("service/shop/cart",)}
    return Row(address, "Pod", "shop", name, **(given | more))


def sources(namer: FlowNamer, *ends: int, part: str = "entity") -> list[str | None]:
    named = namer(flows(*((CART, OTHER, end) for end in ends)))
    found: list[str | None] = named.column(f"source_{part}").to_pylist()
    return found


def test_a_flow_has_entity_service_and_workload() -> None:
    namer = FlowNamer(book(pod("cart-0"), Row(OTHER, "Service", "shop", "db")))
    row = namer(flows((CART, OTHER, 5))).select(list(FLOW_RECORDS.names[-6:])).to_pylist()[0]
    assert row == {
        "source_entity": "pod/shop/cart-0",
        "source_service": "service/shop/cart",
        "source_workload": "deployment/shop/cart",
        "destination_entity": "service/shop/db",
        "destination_service": "service/shop/db",
        "destination_workload": None,
    }


def test_an_address_that_is_reused_is_each_pods_in_its_time_within_one_batch() -> None:
    namer = FlowNamer(book(pod("old", from_ns=100, to_ns=200), pod("new", from_ns=300, owner="web", services=())))
    assert sources(namer, 50, 150, 250, 350) == [None, "pod/shop/old", None, "pod/shop/new"]
    assert sources(namer, 350, 150, part="workload") == ["deployment/shop/web", "deployment/shop/cart"]
    assert sources(namer, 350, 150, part="service") == [None, "service/shop/cart"]


def test_a_rollout_changes_the_pods_and_keeps_the_workload() -> None:
    steps = [pod(f"cart-{number}", f"10.244.1.{number}", from_ns=number * 100) for number in range(1, 4)]
    namer = FlowNamer(book(*steps))
    named = namer(flows(*((f"10.244.1.{number}", OTHER, number * 100) for number in range(1, 4))))
    assert named.column("source_entity").to_pylist() == [f"pod/shop/cart-{number}" for number in range(1, 4)]
    assert set(named.column("source_workload").to_pylist()) == {"deployment/shop/cart"}


def test_last_packets_are_the_last_owners_for_a_while() -> None:
    rows = pod("old", from_ns=100, to_ns=200), pod("new", from_ns=260), pod("gone", OTHER, to_ns=200)
    namer = FlowNamer(book(*rows), late_s=50e-9)
    assert sources(namer, 50, 200, 249, 250, 260) == [None, "pod/shop/old", "pod/shop/old", None, "pod/shop/new"]
    assert sources(FlowNamer(book(*rows), late_s=60e-9), 259, 260) == ["pod/shop/old", "pod/shop/new"]


def test_a_drained_node_keeps_its_own_name_while_its_pods_go() -> None:
    node = Row("10.1.0.11", "Node", "", "n1", from_ns=1)
    gone = pod("cart-0", from_ns=100, to_ns=200, node="n1")
    moved = pod("cart-1", "10.244.2.5", from_ns=210, node="n2")
    namer = FlowNamer(book(node, gone, moved))
    named = namer(flows((CART, "10.1.0.11", 150), (CART, "10.1.0.11", 205), ("10.244.2.5", "10.1.0.11", 215)))
    assert named.column("source_entity").to_pylist() == ["pod/shop/cart-0", None, "pod/shop/cart-1"]
    assert named.column("destination_entity").to_pylist() == ["node/n1"] * 3


def test_what_is_learnt_later_counts_from_then_on() -> None:
    made = book(pod("old", from_ns=100))
    namer = FlowNamer(made)
    assert sources(namer, 250) == ["pod/shop/old"]
    made.add(pod("old", from_ns=100, to_ns=200))
    made.add(pod("new", from_ns=220))
    assert sources(namer, 150, 210, 250) == ["pod/shop/old", None, "pod/shop/new"]


def test_a_network_that_is_learnt_names_what_was_looked_up_before() -> None:
    made = book()
    namer = FlowNamer(made)
    assert sources(namer, 5) == [None]
    made.add(Row("10.244.0.0/16", "External", "", "pods"))
    assert sources(namer, 5) == ["external/pods"]


def test_names_that_are_there_already_stay() -> None:
    namer = FlowNamer(book(pod("cart-0")))
    named = namer(flows((CART, OTHER, 5)))
    again = FlowNamer(book(pod("other"), pod("db", OTHER)))(named)
    assert again.column("source_entity").to_pylist() == ["pod/shop/cart-0"]
    assert again.column("destination_entity").to_pylist() == ["pod/shop/db"]


def test_other_columns_are_refused_and_no_rows_are_fine() -> None:
    namer = FlowNamer(book())
    with pytest.raises(ValueError, match="not a batch of flow records"):
        namer(batch([flow()]))
    assert namer(flows((CART, OTHER, 5)).slice(0, 0)).num_rows == 0


def test_a_batch_of_entities_fills_the_book() -> None:
    row = {
        "address": CART,
        "kind": "Pod",
        "namespace": "shop",
        "name": "cart-0",
        "uid": "u",
        "owner_kind": "Deployment",
        "owner": "cart",
        "node": "n1",
        "labels": [("app", "cart")],
        "services": ["service/shop/cart"],
        "ports": '[{"name":"http","port":80}]',
        "from": 100,
        "to": None,
        "seen": 120,
        "cluster": "lab",
    }
    made = AddressBook()
    assert made.learn(pa.RecordBatch.from_pylist([row, row | {"address": "nonsense"}], schema=ENTITIES)) == 1
    found = made.at(CART, 110)
    assert found is not None
    assert (found.entity, found.services, dict(found.labels)) == (
        "pod/shop/cart-0",
        ("service/shop/cart",),
        {"app": "cart"},
    )
    assert (made.bad, made.seen_ns) == (1, 120)


def test_what_ended_long_ago_is_forgotten() -> None:
    made = book(pod("old", from_ns=100, to_ns=200), pod("new", from_ns=300), pod("gone", OTHER, to_ns=150))
    namer = FlowNamer(made)
    assert sources(namer, 150) == ["pod/shop/old"]
    assert (made.forget(250), len(made)) == (2, 1)
    assert sources(namer, 150, 350) == [None, "pod/shop/new"]


ADDRESSES = ["10.0.0.1", "10.0.0.2", "fd00::1"]
TIMES = st.integers(0, 40)
ROWS = st.lists(
    st.builds(
        lambda address, kind, name, times: Row(
            address, kind, "shop", name, uid=f"{kind}{name}", from_ns=times[0], to_ns=times[1]
        ),
        st.sampled_from([*ADDRESSES, "10.0.0.0/24"]),
        st.sampled_from(["Pod", "Node", "Service", "External"]),
        st.sampled_from("abc"),
        st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), 0 if pair[0] == pair[1] else max(pair))),
    ),
    max_size=12,
)


@given(ROWS, st.lists(st.tuples(st.sampled_from(ADDRESSES), TIMES), min_size=1, max_size=20), st.integers(0, 5))
def test_the_join_gives_what_the_book_gives_row_by_row(
    rows: Sequence[Row], asked: Sequence[tuple[str, int]], slack: int
) -> None:
    made = book(*rows, slack_s=slack / 1e9)
    named = FlowNamer(made)(flows(*((address, address, ns) for address, ns in asked)))
    wanted = [None if (row := made.at(address, ns)) is None else row.entity for address, ns in asked]
    assert named.column("source_entity").to_pylist() == wanted == named.column("destination_entity").to_pylist()
