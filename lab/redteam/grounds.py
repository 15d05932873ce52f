"""The ground of a run: the testbed's rooms with an inside network added, and the servers that honest clients use.

Called by the verb and the test, needs root. In: nothing. Out: a `Ground` to carry attacks out on; leaving it ends every
process and removes the rooms. The node's interface towards the wire is where each row attaches its own shield.
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loomidi.services.demo.testbed import CLIENTS, CLIENTS6, WEB, WEB6, Network, sweep
from loomidi_lab.redteam.catalogue.places import ESTABLISHED, INSIDE, NEIGHBOUR, PROTECTED
from loomidi_lab.redteam.crowd import Crowd
from loomidi_lab.redteam.serving import basics

PEOPLE = tuple(client for client in CLIENTS if client != NEIGHBOUR)  # the neighbour's address is only claimed


@dataclasses.dataclass(frozen=True, slots=True)
class Ground:
    """Rooms with servers, and a folder for what the run writes."""

    network: Network
    folder: Path
    serves: tuple[str, ...]

    def crowd(self) -> Crowd:
        """The honest clients: about 35 requests a second, four connections that stay."""
        web = (*((client, WEB) for client in PEOPLE), *((client, WEB6) for client in CLIENTS6[:2]))
        names = tuple((client, WEB) for client in PEOPLE[2:4]) if "names" in self.serves else ()
        held = tuple((client, WEB) for client in (ESTABLISHED, PROTECTED, PEOPLE[2], PEOPLE[3]))
        return Crowd(web, names, held, per_second=4.0)


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """Build, serve, and take everything away at the end. Raises EnvironmentLacks where namespaces cannot be made."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix="loomidi-redteam-"))
    try:
        with Network() as network:
            _inside_network(network)
            yield Ground(network, folder, tuple(basics(network, folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _inside_network(network: Network) -> None:
    """An address of a private range in the attacker's room: a leak is one from inside to outside."""
    from pyroute2 import IPRoute

    for room, link, address in (("attacker", "eth0", INSIDE), ("node", network.interface, "10.66.0.1")):
        with network.inside(room), IPRoute() as netlink:
            netlink.addr("add", index=netlink.link_lookup(ifname=link)[0], address=address, prefixlen=24)
