"""What hosts of one link say of who has which address, by ARP or by IPv6 neighbour discovery.

Written by `loom.capture.neighbours`, judged by `origami.online.Neighbours`. One frozen record a frame; no I/O.
"""

from typing import NamedTuple

ASK, ANSWER, ANNOUNCE, ROUTER = "ask", "answer", "announce", "router"


class NeighbourWord(NamedTuple):
    """One frame of ARP (RFC 826, 5227) or of neighbour discovery (RFC 4861)."""

    at_ns: int  # epoch, the kernel's time of the frame
    kind: str  # ask; answer: to somebody; announce: to everybody; router: an advertisement of a router
    address: str  # who is said to be at `link`; empty where nothing is claimed: a probe
    link: str  # link address that is claimed for it
    about: str = (
        ""  # ask: the address that is asked for; answer: the address it is told to, empty where nobody is named
    )
    sender: str = ""  # link address in the Ethernet header
    vlan: int = 0  # 0: untagged
    own: bool = False  # sent by this host: the kernel's word
    aside: bool = False  # between two others, met because the interface hears all or a switch floods
    overrides: bool = True  # it replaces what is known; an advertisement without the flag does not (anycast, proxies)
