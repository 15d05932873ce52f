"""Many links metered at once: each packet once and both ways, links that come and go, an exact balance."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.capture import spaces
from loomidi.loom.flows.links import LIVE, LinkMeters
from tests.integration.watch import rooms as r

pytestmark = pytest.mark.kernel


COLUMNS = ["protocol_identifier", "source_ip_address"] + [
    f"{side}{count}_delta_count" for side in ("", "reverse_") for count in ("packet", "octet")
]


@pytest.fixture(autouse=True)
def space() -> Iterator[None]:
    with r.rooms():
        yield


def names(meters: LinkMeters) -> set[str]:
    return {link.name for link in meters.links}


def finished(meters: LinkMeters) -> list[tuple[str, dict[str, Any]]]:
    """Stop, take all: (link, addresses and counts) of each flow of UDP."""
    meters.stop()
    rows = [(link.name, row) for link, batch in meters for row in batch.select(COLUMNS).to_pylist()]
    return [(name, row) for name, row in rows if row["protocol_identifier"] == 17]


def test_both_directions_are_seen_each_packet_once_on_each_link() -> None:
    with LinkMeters([(r.NODE, "veth*")]) as meters:
        r.talk(20)
        flows = finished(meters)
        assert sorted(name for name, _ in flows) == ["vetha", "vethb"]
        assert {(row["packet_delta_count"], row["reverse_packet_delta_count"]) for _, row in flows} == {(20, 20)}
        assert {(row["octet_delta_count"], row["reverse_octet_delta_count"]) for _, row in flows} == {(2560, 1560)}
        assert {row["source_ip_address"] for _, row in flows} == {r.A}


def test_what_the_kernel_counted_for_a_socket_is_what_the_interface_counted_and_what_the_flows_hold() -> None:
    """More packets than one turn of the reader takes: none may be missed between two turns."""
    before = {link: r.counted(r.NODE, link) for link in ("vetha", "vethb")}
    with LinkMeters([(r.NODE, "veth*")]) as meters:
        r.talk(5000)
        after = {link: r.counted(r.NODE, link) for link in ("vetha", "vethb")}
        finished(meters)
        for link, balance in meters.balance().items():
            figures = meters.figures()[link]
            assert balance["received"] == after[link.name] - before[link.name] >= 10_000
            assert balance["received"] == sum(balance.values()) - balance["received"]
            assert (balance["unread"], balance["socket_dropped"]) == (0, 0)
            assert balance["accounted"] == figures["in_flows"]
            assert figures["before_opening"] == before[link.name]


def test_a_link_that_comes_later_is_metered_from_its_beginning() -> None:
    with LinkMeters([(r.NODE, "late*")], rescan_s=30.0) as meters:
        assert meters.links == ()
        r.ip("-n", r.POD_B, "addr", "del", f"{r.B}/24", "dev", "eth0")
        r.ip("-n", r.POD_B, "link", "del", "eth0")
        r.join(r.POD_B, "late0", r.B)
        r.until(lambda: names(meters) == {"late0"}, "the kernel's word of a new link was not heard")
        r.talk(5)
        flows = finished(meters)
        assert [(name, row["packet_delta_count"]) for name, row in flows] == [("late0", 5)]


def test_a_link_that_vanishes_leaves_its_flows_and_its_balance() -> None:
    with LinkMeters([(r.NODE, "veth*")]) as meters:
        r.talk(7)
        seen = r.counted(r.NODE, "vethb") - next(
            figures["before_opening"] for link, figures in meters.figures().items() if link.name == "vethb"
        )
        r.ip("-n", r.NODE, "link", "del", "vethb")
        r.until(lambda: names(meters) == {"vetha"}, "a link that is gone is still read")
        balance = {link.name: parts for link, parts in meters.balance().items()}
        assert (balance["vethb"]["received"], balance["vethb"]["unread"]) == (seen, 0)
        flows = finished(meters)
        assert [(row["packet_delta_count"]) for name, row in flows if name == "vethb"] == [7]


def test_a_link_of_the_same_name_is_another_link() -> None:
    with LinkMeters([(r.NODE, "vethb")]) as meters:
        r.ip("-n", r.NODE, "link", "del", "vethb")
        r.until(lambda: not meters.links, "a link that is gone is still read")
        r.join(r.POD_B, "vethb", r.B)
        r.until(lambda: names(meters) == {"vethb"}, "the new link was not found")
        finished(meters)
        assert len(meters.balance()) == 2


def test_a_namespace_that_is_removed_is_let_go_and_one_of_the_same_name_is_followed() -> None:
    with LinkMeters([(r.NODE, "veth*")], rescan_s=0.1) as meters:
        r.ip("netns", "del", r.NODE)
        r.until(lambda: not meters.links, "a namespace that is gone is still held")
        r.ip("netns", "add", r.NODE)
        r.ip("-n", r.NODE, "link", "add", "veth9", "type", "veth", "peer", "name", "other9")
        r.ip("-n", r.NODE, "link", "set", "veth9", "up")
        r.until(lambda: names(meters) == {"veth9"}, "the new namespace was not followed")


def test_when_nobody_takes_the_batches_what_is_lost_is_counted_where() -> None:
    """The queue is full, the reader waits, the ring of 1 MiB fills, the socket drops; all of it is in the balance."""
    settings = dataclasses.replace(LIVE, batch_rows=1, ring_mib=1, unanswered_s=0.001, idle_s=0.001)
    meters = LinkMeters([(r.NODE, "vetha")], settings, batches=1)
    for port in range(2000, 2400):
        r.talk(20, port)
    (link,) = meters.links
    r.until(lambda: meters.figures()[link]["flows"] >= 1, "no batch was queued")
    meters.close()
    balance, figures = meters.balance()[link], meters.figures()[link]
    assert balance["received"] == sum(balance.values()) - balance["received"]
    assert balance["received"] >= 16_000
    assert figures["undelivered"] > 0
    assert balance["accounted"] == figures["in_flows"] + figures["undelivered"]


def test_threads_and_sockets_are_gone_after_closing() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with LinkMeters([(r.NODE, "veth*")]) as meters:
        assert {"loomidi-vetha", "loomidi-vethb"} <= {thread.name for thread in threading.enumerate()}
        with spaces.inside(r.NODE):
            assert len(Path("/proc/thread-self/net/packet").read_text().splitlines()) == 3
        assert not meters.ended
    assert {thread.name for thread in threading.enumerate()} <= before
    with spaces.inside(r.NODE):
        assert len(Path("/proc/thread-self/net/packet").read_text().splitlines()) == 1


def test_this_thread_stays_in_its_own_namespace() -> None:
    home = spaces.identity("")
    with LinkMeters([(r.NODE, "veth*"), (r.POD_A, "eth0"), ("", "lo")]) as meters:
        assert {link.netns for link in meters.links} == {r.NODE, r.POD_A, ""}
        assert spaces.identity("") == home
