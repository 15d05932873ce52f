"""Settings of the node agent, as a group of the one configuration file.

Read by `loomidi serve agent` and, when the agent runs within `loomidi run`, by `pipeline`.
"""

import dataclasses

from loomidi.contracts.errors import UsageError

CAPTURES = ("auto", "shield", "sockets")


@dataclasses.dataclass(frozen=True, slots=True)
class AgentSettings:
    """Which links the node agent meters, and how."""

    links: tuple[str, ...] = ()
    # Globs of links, such as eth0 or veth*; followed as they come and go. None: no agent.
    netns: tuple[str, ...] = ()
    # Network namespaces under /run/netns in which they are; none: our own.
    capture: str = "auto"
    # shield: XDP or tc, sees what arrives. sockets: AF_PACKET, both directions. auto: the shield where it can be.
    mode: str = "auto"
    # Of the shield: auto, native, generic or tc.
    pin: bool = False
    # Leave the shield in the kernel when the agent ends, so that packets are counted meanwhile, and told as uncovered.
    drain_s: float = 1.0
    # Between two drains; flows and counters go to the bus this often.
    active_s: float = 5.0
    # Flows that last longer are cut and go on as another record: so a window of 10 s holds nearly all that is its own.
    idle_s: float = 10.0
    # Silence that ends a flow.

    def __post_init__(self) -> None:
        """Raises UsageError for values that make no sense."""
        if self.capture not in CAPTURES:
            raise UsageError(f"capture {self.capture!r}: use one of {', '.join(CAPTURES)}")
        if not 0.05 <= self.drain_s <= 3600:
            raise UsageError(f"drain every {self.drain_s:g} s: use 0.05 to 3600")
