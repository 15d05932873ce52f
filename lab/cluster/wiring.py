"""Network namespaces, links and routes of a lab, and nothing on the host but one link and its routes.

Called by `raising`, and by `nodes` for one that starts anew. In: `Place`, `Ranges`, number of nodes, kind of network.
Out: namespaces named after the lab. All is removed by `clearing` by deleting the namespaces: links, routes and tables
inside go with them.

    host ll-NAME --- br0 (router and control plane) --- n1, n2, ... --- pods
                       +--- eth0 of the outside: users and attackers
"""

import json
import subprocess
from collections.abc import Sequence

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster.addressing import ATTACKERS, USERS, Ranges
from loomidi_lab.cluster.places import Place
from loomidi_lab.cluster.processes import entering

_ROUTER = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0"}
_QUIET = {"net.ipv4.conf.all.send_redirects": "0", "net.ipv4.conf.default.send_redirects": "0"}


def wire(lab: Place, ranges: Ranges, nodes: int, network: str) -> None:
    """Make everything but what pods bring. Raises EnvironmentLacks with the words of `ip`."""
    _ip("", [f"netns add {name}" for name in (lab.control, lab.outside, *map(lab.node, range(1, nodes + 1)))])
    for name in (lab.control, *map(lab.node, range(1, nodes + 1))):
        _sysctl(name, _ROUTER | _QUIET)
    _ip("", [f"link add {lab.link} type veth peer name host netns {lab.control}"])
    _ip(lab.control, _router(ranges))
    _join(lab, ranges, nodes, network)
    _outside(lab, ranges)
    _host(lab, ranges)


def _router(ranges: Ranges) -> list[str]:
    return [
        "link set lo up",
        "link add br0 type bridge",
        "link set br0 up",
        "link set host master br0 up",
        f"addr add {ranges.router}/24 dev br0",
    ]


def _join(lab: Place, ranges: Ranges, nodes: int, network: str) -> None:
    """One link a node; with the plain bridge network, routes to each other's pods (Cilium makes its own)."""
    for number in range(1, nodes + 1):
        _plugged(lab, ranges, number, nodes, network)
        _ip(lab.control, [f"route add {_pods(ranges, number)}"])
    _ip(lab.control, [f"route add {ranges.services} via {ranges.node(1)}"])  # kube-proxy there knows where to


def rewire(lab: Place, ranges: Ranges, number: int, nodes: int, network: str) -> None:
    """A new network for a node that was switched off: nothing of the old one is left but its link's address."""
    name = lab.node(number)
    address = _address(name)
    _ip(lab.control, [f"link delete n{number}"])  # the pair goes at once; with the namespace it would go some time
    _ip("", [f"netns delete {name}", f"netns add {name}"])
    _sysctl(name, _ROUTER | _QUIET)
    _plugged(lab, ranges, number, nodes, network, mac=f"address {address} " if address else "")


def _plugged(lab: Place, ranges: Ranges, number: int, nodes: int, network: str, *, mac: str = "") -> None:
    """A node's link to the router, its address and its routes. `mac`: words of `ip`, to keep the one it had."""
    node, routed = lab.node(number), range(1, nodes + 1)
    _ip("", [f"link add eth0 {mac}netns {node} type veth peer name n{number} netns {lab.control}"])
    _ip(lab.control, [f"link set n{number} master br0 up"])
    others = [f"route add {_pods(ranges, other)}" for other in routed if other != number and network == "bridge"]
    own = [f"addr add {ranges.node(number)}/24 dev eth0", f"route add default via {ranges.router}"]
    _ip(node, ["link set lo up", "link set eth0 up", *own, *others])


def _address(netns: str) -> str:
    """Of its link, as neighbours know it; '' when there is none."""
    words = ["ip", "-netns", netns, "-json", "link", "show", "eth0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return str(json.loads(done.stdout)[0]["address"]) if done.returncode == 0 else ""


def _pods(ranges: Ranges, number: int) -> str:
    return f"{ranges.pods_of(number)} via {ranges.node(number)}"


def _outside(lab: Place, ranges: Ranges) -> None:
    """Every address of the two documentation ranges is local there, so that a client may bind any of them."""
    _sysctl(lab.outside, _ROUTER)
    _ip("", [f"link add eth0 netns {lab.outside} type veth peer name out netns {lab.control}"])
    _ip(lab.control, ["link set out master br0 up", *(f"route add {each} via {ranges.outside}" for each in _far())])
    _ip(
        lab.outside,
        [
            "link set lo up",
            "link set eth0 up",
            f"addr add {ranges.outside}/24 dev eth0",
            f"route add default via {ranges.router}",
            *(f"route add local {each} dev lo" for each in _far()),
        ],
    )


def _far() -> tuple[str, str]:
    return USERS, ATTACKERS


def _host(lab: Place, ranges: Ranges) -> None:
    """The host's end: the API server by its address, pods and services through the router."""
    _ip(
        "",
        [
            f"link set {lab.link} up",
            f"addr add {ranges.host}/24 dev {lab.link}",
            f"route add {ranges.pods} via {ranges.router}",
            f"route add {ranges.services} via {ranges.router}",
        ],
    )


def _ip(netns: str, commands: Sequence[str]) -> None:
    words = ["ip", *(["-netns", netns] if netns else []), "-batch", "-"]
    done = subprocess.run(words, input="\n".join(commands), capture_output=True, text=True, check=False)
    if done.returncode:
        where = f" in {netns}" if netns else ""
        raise EnvironmentLacks(f"cannot wire the lab{where}: {' '.join(done.stderr.split())}")


def _sysctl(netns: str, values: dict[str, str]) -> None:
    words = [*entering(netns), "sysctl", "-qw", *(f"{name}={value}" for name, value in values.items())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentLacks(f"cannot set the network of {netns}: {' '.join(done.stderr.split())}")
