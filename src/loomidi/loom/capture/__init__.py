"""Where packets are met: the kernel shield, its user-space twin, the probe of what this machine can do.

Called by `services` and the verbs. In: an interface and settings. Out: a `contracts.ports.Shield`, or a `Probe`.
Leaves flow records to `loom.flows`. Names are bound on first use, so that reading a capture loads no BPF code.
"""

import importlib
from typing import Any

_HOMES = {
    "attach": "opening",
    "detach": "opening",
    "open_shield": "opening",
    "reopen": "opening",
    "shielded": "opening",
    "Probe": "probing",
    "probe": "probing",
    "TwinShield": "twin",
    "Limits": "verdicts",
    "Watch": "verdicts",
    "ShieldSettings": "xdp.loading",
}
__all__ = [
    "Limits",
    "Probe",
    "ShieldSettings",
    "TwinShield",
    "Watch",
    "attach",
    "detach",
    "open_shield",
    "probe",
    "reopen",
    "shielded",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name. Raises AttributeError for others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
