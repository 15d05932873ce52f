"""Whether what Loomidi names is who a scenario means. Pure.

Called by `playing`. In: entity ids of findings and folds (`pod/tenants/x`, `host/198.51.100.7`), the truth of a
scenario, its pods with their addresses as they were. Out: yes or no. A name that merely begins like another is not it.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

Measured = Mapping[str, Any]  # {"entity": {kind, namespace, name}, "pods": [{name, address}]}, by `staging.targets`
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}(?!\d))?")
_SAID = {"TERMINATE": "DELETE", "EVICT": "DELETE", "CORDON": "CORDON_NODE"}  # our kind -> as scenarios write it
_HASH = r"(?:-[a-z0-9]{6,10})?(?:-[a-z0-9]{5})?(?:-\d+)?"  # of a pod's name after its owner's


def means(entity: str, measured: Measured) -> bool:
    """Whether an entity id is this one, a pod of it, or an address that it has."""
    meant = measured["entity"]
    kind, space, name = meant["kind"], meant.get("namespace", ""), meant["name"]
    addresses = [pod["address"] for pod in measured.get("pods", ()) if pod.get("address")]
    if kind == "External":
        return _overlap(entity, [name])
    if _overlap(entity, addresses):
        return True
    rest, release, _ = entity.partition("/")[2].partition(":")[0].partition("@")  # without port, without release
    if kind in ("Node", "Namespace"):
        return bool(rest == name)
    pods = {f"{space}/{pod['name']}" for pod in measured.get("pods", ())}
    hashed = "" if release else _HASH  # a release is named by its workload
    return rest in pods or re.fullmatch(re.escape(f"{space}/{name}") + hashed, rest) is not None


def named(entities: Iterable[str], everybody: Iterable[Measured]) -> bool:
    """Whether any of these entities is any of those."""
    wanted = list(everybody)
    return any(means(entity, measured) for entity in entities for measured in wanted)


def listed(fold: Mapping[str, Any], answers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a fold (its `spec`) is among answers of a scenario's truth: the same kind, on the same target."""
    said = _SAID.get(fold["kind"], fold["kind"])
    targets = (answer["target"] for answer in answers if answer["kind"] == said and answer.get("target"))
    return any(means(fold["target"], {"entity": target}) for target in targets)


def _overlap(entity: str, addresses: Iterable[str]) -> bool:
    mine = [ipaddress.ip_network(found, strict=False) for found in _ADDRESS.findall(entity) if _is_network(found)]
    theirs = [ipaddress.ip_network(found, strict=False) for found in addresses if _is_network(found)]
    return any(_meets(one, other) for one in mine for other in theirs)


def _meets(one: _Network, other: _Network) -> bool:
    """Everybody is met by everybody alone: one address is not what `0.0.0.0/0` means."""
    return one.version == other.version and one.overlaps(other) and (other.prefixlen > 0 or one.prefixlen == 0)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
