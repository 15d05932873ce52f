"""Who had an address when: times, reuse, files that grow, rows that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts.errors import InputError
from loomidi.garden.graph.naming import AddressBook, Row


def row(address: str = "10.244.1.5", name: str = "cart-0", **changes: Any) -> dict[str, Any]:
    given = {"address": address, "kind": "Pod", "namespace": "shop", "name": name, "uid": f"uid-{name}"}
    return given | {"from_ns": 100, "to_ns": 0} | changes


def book(*rows: dict[str, Any], **settings: Any) -> AddressBook:
    made = AddressBook(**settings)
    assert all(made.add_line(json.dumps(one)) for one in rows)
    return made


def name_at(made: AddressBook, address: str, ns: int | None = None) -> str | None:
    found = made.at(address, ns)
    return None if found is None else found.name


def test_an_address_is_its_owners_from_its_beginning_up_to_its_end() -> None:
    made = book(row(from_ns=100, to_ns=200))
    assert [name_at(made, "10.244.1.5", ns) for ns in (99, 100, 199, 200)] == [None, "cart-0", "cart-0", None]


def test_an_address_that_is_given_to_another_pod_is_each_ones_in_its_time() -> None:
    made = book(row(name="old", to_ns=200), row(name="new", from_ns=300))
    assert [name_at(made, "10.244.1.5", ns) for ns in (150, 250, 350)] == ["old", None, "new"]
    assert name_at(made, "10.244.1.5") == "new"


def test_a_later_row_of_the_same_uid_and_address_closes_it() -> None:
    made = book(row(), row(to_ns=200))
    assert (len(made), name_at(made, "10.244.1.5", 150), name_at(made, "10.244.1.5", 250)) == (1, "cart-0", None)


def test_the_end_of_an_earlier_pod_that_comes_late_changes_nothing_for_the_later_one() -> None:
    made = book(row(name="old"), row(name="new", from_ns=300), row(name="old", to_ns=200))
    assert [name_at(made, "10.244.1.5", ns) for ns in (150, 250, 350)] == ["old", None, "new"]


def test_without_a_uid_the_same_name_later_is_another_time_of_it() -> None:
    made = book(row(uid="", to_ns=200), row(uid="", from_ns=300, to_ns=400))
    assert (len(made), name_at(made, "10.244.1.5", 150), name_at(made, "10.244.1.5", 350)) == (2, "cart-0", "cart-0")


def test_a_node_is_told_rather_than_a_pod_of_its_network() -> None:
    made = book(row("10.1.0.11", "proxy"), row("10.1.0.11", "n1", kind="Node", namespace=""))
    found = made.at("10.1.0.11", 150)
    assert found is not None
    assert found.entity == "node/n1"


def test_a_network_names_what_no_row_of_its_own_does_the_narrowest_first() -> None:
    wide, narrow = row("203.0.113.0/24", "users", kind="External"), row("203.0.113.64/26", "partners", kind="External")
    made = book(wide, narrow, row("203.0.113.70", "one", kind="External"))
    found = [name_at(made, address, 150) for address in ("203.0.113.1", "203.0.113.65", "203.0.113.70", "203.0.112.1")]
    assert found == ["users", "partners", "one", None]


def test_addresses_are_found_however_they_are_written() -> None:
    assert name_at(book(row("2001:DB8:0::1")), "2001:db8::1", 150) == "cart-0"


def test_the_slack_holds_only_where_no_row_is_exact() -> None:
    made = book(row(name="old", to_ns=200), row(name="new", from_ns=300), slack_s=60e-9)
    assert [name_at(made, "10.244.1.5", ns) for ns in (199, 259, 260, 301)] == ["old", "new", "new", "new"]
    assert [name_at(made, "10.244.1.5", ns) for ns in (201, 239)] == ["old", "old"]
    assert name_at(made, "10.244.1.5", 39) is None


def test_entities_have_ids() -> None:
    rows = (Row("10.96.0.1", "Service", "shop", "cart"), Row("10.1.0.1", "Node", "", "n1"))
    assert [one.entity for one in rows] == ["service/shop/cart", "node/n1"]
    assert Row("203.0.113.1", "External", "", "users").entity == "external/users"


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "[]", "3", '{"address": "10.0.0.1"}', json.dumps(row("not-an-address")), json.dumps(row(name="")),
     json.dumps(row(from_ns=300, to_ns=200)), json.dumps(row(labels=3)), json.dumps(row(from_ns="soon"))],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_counted_and_told(line: str) -> None:
    made = AddressBook()
    assert not made.add_line(line, "book:7")
    assert (made.bad, len(made), len(made.problems)) == (1, 0, 1)
    assert made.problems[0].startswith("book:7: not a usable row (")


def test_only_the_first_bad_rows_are_told_all_are_counted() -> None:
    made = AddressBook()
    for _ in range(100):
        made.add_line("nonsense")
    assert (made.bad, len(made.problems)) == (100, 20)


def test_a_file_is_read_on_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "entities.jsonl"
    made = AddressBook(path)
    assert made.refresh() == 0
    whole, begun = json.dumps(row()), json.dumps(row("10.244.1.6", "cart-1"))
    path.write_text(f"{whole}\n{begun[:20]}")
    assert (made.refresh(), made.bad, len(made)) == (1, 0, 1)
    with path.open("a") as file:
        file.write(f"{begun[20:]}\n\nnonsense\n")
    assert (made.refresh(), made.bad, len(made)) == (1, 1, 2)
    assert made.problems == [f"{path}:4: not a usable row (Expecting value: line 1 column 1 (char 0)); it is left out"]
    assert made.refresh() == 0


def test_another_file_of_that_name_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "entities.jsonl"
    path.write_text(json.dumps(row()) + "\n")
    made = AddressBook(path)
    made.refresh()
    path.write_text("")
    path.write_text(json.dumps(row("10.0.0.9", "x")) + "\n")
    assert (made.refresh(), name_at(made, "10.0.0.9", 150)) == (1, "x")


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory; name a file of entities"):
        AddressBook(tmp_path).refresh()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30), st.integers(0, 80))
def test_any_times_are_found_as_a_plain_search_finds_them(times: list[tuple[int, int]], moment: int) -> None:
    rows = [Row("10.0.0.1", "Pod", "a", f"p{n}", f"u{n}", from_ns=begin, to_ns=begin + lasts) for n, (begin, lasts) in
            enumerate(times)]  # fmt: skip
    made = AddressBook()
    for one in rows:
        made.add(one)
    found = made.at("10.0.0.1", moment)
    holding = [one.from_ns for one in rows if one.from_ns <= moment < one.to_ns]
    assert (None if found is None else found.from_ns) == (max(holding) if holding else None)


def test_rows_come_out_as_they_went_in() -> None:
    given_row = row(labels={"app": "cart"}, ports=[{"port": 80}], owner_kind="StatefulSet", owner="cart", node="n1")
    (found,) = list(book(given_row))
    assert found.as_dict() == given_row
