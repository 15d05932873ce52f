"""Address ranges for a lab that the host does not route yet.

Called by `raising`. In: the host's routes and addresses (`ip -json`), or a range that the user wants. Out: `Ranges`.
Raises Conflict when what is wanted is taken, and when nothing is left.
"""

import dataclasses
import ipaddress
import json
import subprocess
from collections.abc import Iterable, Sequence

from loomidi.contracts.errors import Conflict, UsageError

Network = ipaddress.IPv4Network
USERS = "203.0.113.0/24"  # RFC 5737: who uses what runs in the cluster
ATTACKERS = "198.51.100.0/24"  # RFC 5737: who attacks it
_BLOCK = 15  # prefix length of a lab: half for pods, half for services and the LAN
_CANDIDATES = tuple(Network(f"10.{second}.0.0/{_BLOCK}") for second in (*range(64, 256, 2), *range(2, 64, 2)))
MOST_NODES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Ranges:
    """A lab's addresses, all inside one /15."""

    block: str

    @property
    def pods(self) -> str:
        """The lower half; node n has the n-th /24 of it."""
        return str(self._halves()[0])

    @property
    def services(self) -> str:
        """Cluster IPs."""
        return str(next(self._halves()[1].subnets(1)))

    @property
    def lan(self) -> str:
        """Where router, nodes, outside and host meet: the last /24."""
        return str(list(self._halves()[1].subnets(new_prefix=24))[-1])

    @property
    def router(self) -> str:
        """Also the API server."""
        return self.at(1)

    @property
    def outside(self) -> str:
        """The Internet's end of the LAN."""
        return self.at(253)

    @property
    def host(self) -> str:
        """The host's end of the LAN."""
        return self.at(254)

    @property
    def api_service(self) -> str:
        """Cluster IP of `kubernetes.default`."""
        return str(Network(self.services)[1])

    @property
    def dns(self) -> str:
        """Cluster IP of `kube-dns`."""
        return str(Network(self.services)[10])

    def at(self, last: int) -> str:
        """An address of the LAN."""
        return str(Network(self.lan)[last])

    def node(self, number: int) -> str:
        """A node's address; the first is .11."""
        return self.at(10 + number)

    def pods_of(self, number: int) -> str:
        """A node's pods."""
        return str(list(Network(self.pods).subnets(new_prefix=24))[number])

    def _halves(self) -> list[Network]:
        return list(Network(self.block).subnets(1))


def taken() -> list[Network]:
    """IPv4 networks that the host routes or has addresses in, without the default route."""
    shown = subprocess.run(("ip", "-json", "-4", "route", "show", "table", "all"), capture_output=True, check=True)
    names = (route.get("dst", "default") for route in json.loads(shown.stdout or b"[]"))
    return [Network(name, strict=False) for name in names if name != "default" and name != "0.0.0.0/0"]


def choose(wanted: str = "", *, routed: Iterable[Network] | None = None) -> Ranges:
    """A free block, or the wanted one. Raises UsageError, Conflict."""
    routes = list(taken() if routed is None else routed)
    if wanted:
        block = _parsed(wanted)
        clash = _clash(block, routes)
        if clash:
            raise Conflict(
                f"{wanted} overlaps {clash}, which this host routes; choose another --range, or leave it out"
            )
        return Ranges(str(block))
    for block in _CANDIDATES:
        if not _clash(block, routes):
            return Ranges(str(block))
    raise Conflict("every /15 of 10.0.0.0/8 is routed by this host; give a free private /15 with --range")


def _clash(block: Network, routes: Sequence[Network]) -> Network | None:
    return next((route for route in routes if route.overlaps(block)), None)


def _parsed(wanted: str) -> Network:
    try:
        block = Network(wanted)
    except ValueError as error:
        raise UsageError(f"--range {wanted}: {error}; give a private /15 such as 10.88.0.0/15") from error
    if block.prefixlen != _BLOCK or not block.is_private:
        raise UsageError(f"--range {wanted}: give a private /15 such as 10.88.0.0/15")
    return block
