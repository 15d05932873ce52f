"""One link's counts over several sockets, and what a watch of links refuses before it opens anything."""

import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.loom.capture import native
from loomidi.loom.flows import MeterSettings
from loomidi.loom.flows.accounts import Account, LinkId
from loomidi.loom.flows.links import LinkMeters, total


def state(accounted: int, **counts: int) -> native.State:
    made = native.State(**counts)
    made.reasons[0].packets, made.reasons[0].octets = accounted, 100 * accounted
    return made


def test_received_is_the_sum_of_its_parts_over_all_sockets_of_a_link() -> None:
    account = Account()
    account.opened(5)
    account.note(state(10, received=20, lost=4, twice=1), ended=False)
    assert account.balance()["unread"] == 5
    account.note(state(15, received=20, lost=4, twice=1), ended=True)
    account.opened(99)
    account.note(state(7, received=7), ended=False)
    balance = account.balance()
    assert balance == {"received": 27, "accounted": 22, "socket_dropped": 4, "seen_twice": 1, "unread": 0}
    figures = account.figures()
    assert (figures["octets"], figures["opened"], figures["before_opening"]) == (2200, 2, 5)


def test_every_reason_that_was_met_is_in_the_balance() -> None:
    met = state(1, received=3)
    met.reasons[native.REASONS.index("unparsed_not_ip")].packets = 2
    account = Account()
    account.note(met, ended=True)
    assert account.balance()["unparsed_not_ip"] == 2
    assert account.balance()["unread"] == 0


def test_links_that_are_forgotten_one_by_one_stay_in_the_sum() -> None:
    first, second = Account(), Account()
    first.note(state(3, received=3), ended=True)
    second.note(state(4, received=5, lost=1), ended=True)
    before = total({LinkId("n1", "a", 1): first.balance(), LinkId("n1", "b", 2): second.balance()})
    first.absorb(second)
    assert total({LinkId("n1", "(gone)", 0): first.balance()}) == before


def test_a_link_is_told_with_its_namespace() -> None:
    assert [str(LinkId("n1", "veth3", 7)), str(LinkId("", "eth0", 2))] == ["n1/veth3", "eth0"]


def test_nothing_to_watch_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="nothing to watch; name at least one link"):
        LinkMeters([])


def test_a_namespace_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(InputError, match="lm-none9: no such network namespace; `ip netns` lists them"):
        LinkMeters([("lm-none9", "eth0")])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ring_mib": 0}, "ring 0 MiB"),
        ({"snap_octets": 20}, "snap 20"),
        ({"unanswered_s": -1.0}, "unanswered timeout -1"),
        ({"breathe_s": 0.0}, "breathe every 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MeterSettings(**changes)
