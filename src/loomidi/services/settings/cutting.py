"""Settings of the node agent's cuts, as a group of the one configuration file.

Read by `loomidi serve agent`; see docs/agent.md.
"""

import dataclasses
from pathlib import Path

from loomidi.contracts.errors import UsageError
from loomidi.services.http.authority import Door

PORT = 9103
CALICO = "169.254.1.1/32"  # the gateway that Calico's pods ask for by ARP; no interface has it


@dataclasses.dataclass(frozen=True, slots=True)
class CutSettings:
    """Which orders a node agent takes, and what it never cuts."""

    key: Path | None = None
    # File with the key that seals orders, the operator's too, 32 octets or more. None: no orders are taken.
    door: Door = dataclasses.field(default_factory=lambda: Door(port=PORT))
    # Where orders come in. Anything but loopback needs TLS and a token or client certificates.
    uplinks: tuple[str, ...] = ()
    # Links at which a source is denied; none: those of the default routes.
    spare: tuple[str, ...] = (CALICO,)
    # CIDRs beside the node's own addresses over which its own processes reach a pod that is cut off.
    protect: tuple[str, ...] = ()
    # CIDRs whose packets no denied source may hold up: control plane, name servers, where the operators sit.
    protected_namespaces: tuple[str, ...] = ("kube-node-lease", "kube-public", "kube-system", "loomidi-system")
    # Pods in them are never cut, whoever orders it.
    logs: Path = Path("/var/log/pods")
    # The kubelet's folder of logs, which has the names of pods.
    prepare: bool = True
    # Programs on the pods' links before anything is cut: a cut is one write then, not two attachments of 15 ms each.
    follow_s: float = 1.0
    # Between two looks at which links pods have, and at what has ended.

    def __post_init__(self) -> None:
        """Raises UsageError for values that make no sense."""
        if not 0.05 <= self.follow_s <= 60:
            raise UsageError(f"follow every {self.follow_s:g} s: use 0.05 to 60")
