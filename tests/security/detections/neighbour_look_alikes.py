"""Changes of link addresses that are nobody's attack: fail-over, balancing, leases, cards, containers.

Called by `look_alikes` by name (`rules/detections/neighbour_spoofing/rule.yaml`). Exact times, no chance.
"""

from loomidi.loom.capture.synthetic import CLIENT, SECOND, START_NS, Packet, Scenario, advertisement, arp

ASKER = 0x20  # the link address of CLIENT


def _at(seconds: float) -> int:
    return START_NS + round(seconds * SECOND)


def _benign(name: str, made: list[Packet]) -> Scenario:
    made.sort(key=lambda packet: packet[0])
    return Scenario(name, tuple(made), "", (), made[0][0], made[-1][0])


def _asked(seconds: float, address: str, *links: int) -> list[Packet]:
    """CLIENT asks for an address; each of these answers, a little after the other."""
    answers = [(_at(seconds + 0.001 * (1 + n)), arp(link, address, ASKER, CLIENT)) for n, link in enumerate(links)]
    return [(_at(seconds), arp(ASKER, CLIENT, 0, address, asks=True)), *answers]


def fail_over() -> Scenario:
    """Three addresses go to the other node and come back, as keepalived does it: five announcements, and five again."""
    made: list[Packet] = []
    for address in ("10.0.0.101", "10.0.0.102", "10.0.0.103"):
        made += _asked(0, address, 0x0A) + _asked(15, address, 0x0A) + _asked(35, address, 0x0B)
        for began, link in ((20.0, 0x0B), (75.0, 0x0A)):
            moments = [began + late + 0.01 * index for late in (0, 5) for index in range(5)]
            made += [(_at(moment), arp(link, address)) for moment in moments]
    return _benign("fail_over", made)


def virtual_router() -> Scenario:
    """VRRP and CARP: the address is at a link address of its own; whoever is the router now announces it."""
    router = 0x00005E000101
    made = [(_at(second), arp(router, "10.0.0.1")) for second in (0, 20, 23, 26, 29, 32)]
    return _benign("virtual_router", [*made, *_asked(5, "10.0.0.1", router), *_asked(40, "10.0.0.1", router)])


def balanced_gateway() -> Scenario:
    """GLBP: who asks for the gateway is sent to one of its forwarders in turn."""
    made: list[Packet] = []
    for turn in range(40):
        made += _asked(3 * turn, "10.0.0.1", 0x0007B4000101 + turn % 3)
    return _benign("balanced_gateway", made)


def announced_service() -> Scenario:
    """MetalLB announces each 1.1 s for five seconds when a service moves, kube-vip each three seconds for ever."""
    made = _asked(10, "10.0.0.120", 0x0A)
    made += [(_at(12), advertisement(0x0A, "2001:db8::120"))]
    for turn in range(5):
        made.append((_at(20 + 1.1 * turn), arp(0x0B, "10.0.0.120")))
        made.append((_at(20 + 1.1 * turn), advertisement(0x0B, "2001:db8::120")))
    made += [(_at(15 + 3 * turn), arp(0x0C, "10.0.0.121")) for turn in range(60)]
    return _benign("announced_service", made)


def reused_lease() -> Scenario:
    """An address is another's after a quarter of an hour of silence."""
    made = _asked(0, "10.0.0.50", 0x50) + [(_at(900 + turn), arp(0x51, "10.0.0.50")) for turn in range(2)]
    return _benign("reused_lease", made + _asked(905, "10.0.0.50", 0x51) + _asked(960, "10.0.0.50", 0x51))


def new_card() -> Scenario:
    """A card is replaced; a container that crashes is made anew with the same address and another link address."""
    made = _asked(0, "10.0.0.51", 0x52) + _asked(10, "10.0.0.51", 0x52)
    made += [(_at(25 + turn), arp(0x53, "10.0.0.51")) for turn in range(3)] + _asked(60, "10.0.0.51", 0x53)
    for turn in range(8):
        made += [(_at(5 * turn), arp(0x60 + turn, "172.17.0.2")), *_asked(5 * turn + 1, "172.17.0.2", 0x60 + turn)]
    return _benign("new_card", made)


def many_addresses() -> Scenario:
    """One host has sixty addresses and answers for each of them."""
    made: list[Packet] = []
    for host in range(60):
        made += [(_at(0.1 * host), arp(0x70, f"10.0.2.{host}")), *_asked(10 + host, f"10.0.2.{host}", 0x70)]
    return _benign("many_addresses", made)


def balanced_bond() -> Scenario:
    """A bond in mode balance-alb moves a client to its other card and back: answers unasked, in two bursts."""
    made = _asked(0, "10.0.0.9", 0x71)
    for began, link in ((30.0, 0x72), (60.0, 0x71), (120.0, 0x72)):
        made += [(_at(began + 0.1 * (turn // 2)), arp(link, "10.0.0.9", ASKER, CLIENT)) for turn in range(6)]
    return _benign("balanced_bond", made)


def two_cards() -> Scenario:
    """Two cards of one host on one link: both answer every question."""
    made: list[Packet] = []
    for turn in range(20):
        made += _asked(3 * turn, "10.0.0.10", 0x81, 0x82)
    return _benign("two_cards", made)


NEIGHBOUR_LOOK_ALIKES = (
    fail_over, virtual_router, balanced_gateway, announced_service, reused_lease, new_card, many_addresses,
    balanced_bond, two_cards,
)  # fmt: skip
