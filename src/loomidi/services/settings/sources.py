"""Settings of sources other than packets, as a group of the one configuration file.

Read by `feeding`, which makes a part of the pipeline for each source that is named here.
"""

import dataclasses

from loomidi.loom.sources.prometheus import ScrapeSettings


@dataclasses.dataclass(frozen=True, slots=True)
class SourceSettings:
    """What is listened to besides packets and HTTP. Empty: not at all."""

    kubeconfig: str = ""
    # File; `auto` takes KUBECONFIG, the pod's own account or ~/.kube/config. Pods, services, nodes and events.
    cluster: str = ""
    # Its name, written into every row.
    audit: tuple[str, ...] = ()
    # Files of the Kubernetes audit log, JSON lines; followed through rotation.
    falco: tuple[str, ...] = ()
    # Files of Falco's alerts, JSON lines (json_output: true).
    tetragon: tuple[str, ...] = ()
    # Files of Tetragon's export, JSON lines.
    prometheus: tuple[str, ...] = ()
    # Targets: http://HOST:PORT/metrics, or JOB=http://...
    scrape: ScrapeSettings = dataclasses.field(default_factory=ScrapeSettings)
    # Of the targets.
