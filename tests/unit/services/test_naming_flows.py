"""What names flows: learns from the bus, counts what it cannot use, forgets what is long over."""

import pyarrow as pa

from loomidi.contracts.schemas import ENTITIES
from loomidi.garden.graph.naming import Row
from loomidi.loom.sources.owning import Ownership
from loomidi.services.settings.naming import NamingSettings
from loomidi.services.shared.naming_flows import NamingFlows
from tests.unit.garden.test_labelling import CART, OTHER, flows
from tests.unit.loom.sources.test_owning import ns, pod

SECOND = 10**9


def named(naming: NamingFlows, second: float) -> str | None:
    found: str | None = naming.namer(flows((CART, OTHER, ns(second)))).column("source_entity")[0].as_py()
    return found


def test_flows_are_named_by_what_the_watch_has_told() -> None:
    naming, ownership = NamingFlows(), Ownership("lab")
    ownership.changed("Pod", "ADDED", pod("cart-0", CART, start=1), ns(2))
    batch = ownership.take()
    assert batch is not None
    assert named(naming, 3) is None
    naming.learn(batch)
    assert named(naming, 3) == "pod/shop/cart-0"
    assert naming.counts == {"entities": 1, "entities that could not be used": 0}


def test_last_packets_are_the_last_owners_for_as_long_as_is_set() -> None:
    naming, ownership = NamingFlows(NamingSettings(late_s=5.0)), Ownership("lab")
    ownership.changed("Pod", "ADDED", pod("cart-0", CART, start=1), ns(2))
    ownership.changed("Pod", "DELETED", pod("cart-0", CART, start=1), ns(10))
    batch = ownership.take()
    assert batch is not None
    naming.learn(batch)
    assert [named(naming, second) for second in (9, 14, 16)] == ["pod/shop/cart-0", "pod/shop/cart-0", None]


def test_rows_that_cannot_be_used_are_counted() -> None:
    ownership, naming = Ownership("lab"), NamingFlows()
    ownership.changed("Pod", "ADDED", pod("cart-0", "no address"), ns(2))
    batch = ownership.take()
    assert batch is not None
    assert batch.schema == ENTITIES
    naming.learn(batch)
    assert naming.counts["entities that could not be used"] == 1


def test_owners_of_long_ago_are_forgotten() -> None:
    naming = NamingFlows()
    naming.book.add(Row(CART, "Pod", "shop", "old", uid="u", from_ns=1, to_ns=2))
    assert naming.tidy(10**6 * 86400 * SECOND) == 1
    assert pa.types.is_string(naming.namer(flows((CART, OTHER, 1))).column("source_entity").type)
