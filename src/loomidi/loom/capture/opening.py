"""Open a shield on an interface: attached for the process, attached for good, or reopened.

Called by `services` and the verbs through `loom.capture`. In: interface, mode, settings. Out: `KernelShield`. Leaves
rungs and pins to `xdp.attaching`.
"""

from loomidi.loom.capture.xdp import attaching
from loomidi.loom.capture.xdp.kernel import KernelShield
from loomidi.loom.capture.xdp.loading import ShieldSettings


def open_shield(interface: str, mode: str = "auto", settings: ShieldSettings | None = None) -> KernelShield:
    """Attach for as long as this process holds it: when the process dies, so does the program.

    Raises Conflict when somebody else holds the interface, EnvironmentLacks when no rung holds.
    """
    settings = settings or ShieldSettings()
    return KernelShield(attaching.attach(interface, mode, settings, pin=False), settings)


def attach(interface: str, mode: str = "auto", settings: ShieldSettings | None = None) -> KernelShield:
    """Attach and pin: it stays until `detach`, whatever becomes of this process. Entries still end on time."""
    settings = settings or ShieldSettings()
    return KernelShield(attaching.attach(interface, mode, settings, pin=True), settings)


def reopen(interface: str) -> KernelShield:
    """The shield that `attach` left. Raises EnvironmentLacks when there is none or its interface has gone."""
    return KernelShield(attaching.reopen(interface), fresh=False)


def detach(interface: str) -> bool:
    """Undo `attach`, also what a crash left behind. False when there was nothing."""
    return attaching.detach(interface)


def shielded() -> list[str]:
    """The interfaces of this network namespace whose shields are pinned, there or gone."""
    return attaching.pinned_here()
