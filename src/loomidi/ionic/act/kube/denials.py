"""One source cut off from some pods: what a fold means, whoever writes it down, and what an object may cut at most.

Called by `networks`, `ciliums` and `meshes`. In: a fold by `drop`, live pods. Out: a `Denial` where the fold's
NetworkPolicy says no more than that, and NotActing where an object would cut what the fold's match does not name: the
blast radius was counted for the match.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from loomidi.contracts import FoldSpec, Match
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.decide.manifests import EVERYWHERE
from loomidi.ionic.decide.places import address
from loomidi.ionic.errors import NotActing

_SPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PORT_NAMES = {6: "TCP", 17: "UDP", 132: "SCTP"}


@dataclasses.dataclass(frozen=True, slots=True)
class Denial:
    """No packets of `source` to (ingress) or from (egress) the pods of a selector."""

    metadata: Mapping[str, Any]  # of the object that the fold carries: name, namespace, labels, annotations
    selector: Mapping[str, Any]
    direction: str
    source: str  # CIDR
    port: int  # of the pods for ingress, of the far end for egress; 0: all
    protocol: int  # IANA number; 0: all

    @property
    def namespace(self) -> str:
        """Of the pods."""
        return str(self.metadata.get("namespace", "default"))

    @property
    def named(self) -> dict[str, Any]:
        """Metadata for an object that is written in place of the fold's."""
        kept = {key: self.metadata[key] for key in ("name", "labels", "annotations") if key in self.metadata}
        return kept | {"namespace": self.namespace}


def denial(fold: FoldSpec) -> Denial | None:
    """What the fold's NetworkPolicy means; None when it says anything but: all may pass, except the match's source."""
    manifest, match = fold.manifest, fold.match
    source, spec = address(match.source), manifest.get("spec") or {}
    types = spec.get("policyTypes") or []
    if fold.action != "drop" or manifest.get("kind") != "NetworkPolicy" or not source or len(types) != 1:
        return None
    direction = str(types[0]).lower()
    rules, side = spec.get(direction) or [], {"ingress": "from", "egress": "to"}.get(direction, "")
    if set(spec) - {"podSelector", "policyTypes", direction} or len(rules) != 1 or set(rules[0]) != {side}:
        return None
    blocks = [peer.get("ipBlock") or {} for peer in rules[0][side]]
    left_out = {str(ip_network(one)) for block in blocks for one in block.get("except") or ()}
    if {block.get("cidr") for block in blocks} != set(EVERYWHERE) or left_out != {str(ip_network(source))}:
        return None
    metadata, selector = manifest["metadata"], spec.get("podSelector") or {}
    return Denial(metadata, selector, direction, str(ip_network(source)), match.destination_port, match.protocol)


def within_match(match: Match, cidrs: Iterable[str], what: str) -> None:
    """Raises NotActing for an address range that the match does not hold, or when there is no match to hold it."""
    held = _network(address(match.source) or "", what)
    for text in cidrs:
        one = _network(text, what)
        if one.version != held.version or not one.subnet_of(held):  # type: ignore[arg-type]
            raise NotActing(f"{what} would cut {text}, which match.source {match.source} does not hold; name it there")


def pods_of(scene: Scene, namespace: str, chosen: str = "") -> list[Object]:
    """The pods of a namespace that an object names. Raises NotActing for what is no name of one."""
    if not _SPACE.fullmatch(namespace):
        raise NotActing(f"namespace {namespace!r} is no name of one; write it in full")
    return scene.api.items(f"/api/v1/namespaces/{namespace}/pods", chosen)


def pods_within_match(scene: Scene, match: Match, pods: Sequence[Object], peer: str) -> None:
    """Raises NotActing unless these pods, who are the peer, are there, unprotected, and all within the match."""
    if not pods:
        raise NotActing(f"{peer} is no pod that runs; name one that does")
    for pod in pods:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        scene.unprotected(pod, f"pod {namespace}/{name}")
        own = [one["ip"] for one in pod.get("status", {}).get("podIPs") or ()]
        within_match(match, own, f"{peer} is also pod {namespace}/{name}: the object")
    for namespace in sorted({pod["metadata"]["namespace"] for pod in pods}):
        scene.spare_namespace(namespace)


def sayable(match: Match, chosen: Sequence[Object], what: str) -> None:
    """Raises NotActing for a part of the match that no policy can say, so that it would cut more than was counted."""
    if match.source_port:
        raise NotActing(f"{what} knows no source ports, so it would cut more than the match; leave source_port out")
    own = {one["ip"] for pod in chosen for one in pod.get("status", {}).get("podIPs") or ()}
    if match.destination and own - {match.destination}:
        raise NotActing(f"{what} is for pods beyond match.destination {match.destination}; choose that pod alone")


def _network(text: str, what: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise NotActing(f"{what} names {text!r}, which is no address or CIDR; correct it, or match.source") from error
