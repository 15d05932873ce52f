"""A pod that is cut off by one of its links, as written to the kernel and as read back.

Made by `services.agents.cutting`, written by `xdp.cutting`. Times are ns since the epoch.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """What is asked for one link."""

    ifindex: int
    pod: str  # UID
    plan: str  # id
    token: int  # fencing token of who asked
    expires_ns: int
    address: str = ""  # the pod's IPv4 address, for ARP with its node; empty: no ARP passes


@dataclasses.dataclass(frozen=True, slots=True)
class CutState:
    """A cut with what it has done so far."""

    cut: Cut
    live: bool  # its time is not over
    first_hit_ns: int  # 0: never hit
    last_hit_ns: int
    dropped_from: int  # packets that the pod sent
    dropped_to: int  # packets that were sent to it
    octets: int  # of the dropped ones, whole frames
    spared: int  # packets let through for its node
    attached: bool = True  # the link is still there, with our programs on it
