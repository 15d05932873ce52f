"""Two ways to lose the cluster's DNS: a configuration that answers SERVFAIL, or no pods.

Called by the python step of scenario.yaml.
"""

from typing import Any

from loomidi_lab.staging.steps import apply, patch, scale

_COREDNS = {"kind": "Deployment", "namespace": "kube-system", "name": "coredns"}
_BROKEN = """.:53 {
    errors
    health :8080
    ready :8181
    prometheus :9153
    template ANY ANY . {
        rcode SERVFAIL
    }
}
"""


def break_dns(stage: Any, mode: str) -> None:
    """Roll out the configuration, or scale to nothing."""
    if mode == "no_pods":
        scale.perform(stage, {"entity": _COREDNS, "replicas": 0})
        return
    metadata = {"namespace": "kube-system", "name": "coredns-zones"}
    apply.put(stage, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": _BROKEN}}])
    volume = {"name": "config", "configMap": {"name": "coredns-zones"}}
    patch.perform(stage, {"entity": _COREDNS, "body": {"spec": {"template": {"spec": {"volumes": [volume]}}}}})
