"""Settings of the names of flows, as a group of the one configuration file."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class NamingSettings:
    """How flows get their names."""

    always: bool = False
    # Also where no cluster is watched by this process: names then come from the entities that others put on the bus.
    hold_s: float = 1.5
    # Behind the making of a batch before it is named: a kubelet tells of an address up to a second after its first use.
    late_s: float = 60.0
    # An address that nobody has now is still its last owner's for this long: last acknowledgements, retries.
    remember_s: float = 7 * 86400.0
    # Owners are forgotten this long after they let go of an address; flows that come later still keep null names.
