"""Which folds fit a finding, gentlest first.

Called by `services` (both lanes) with a `Finding`. Out: `FoldSpec`s in the order of escalation, each with the
Kubernetes object it would become and its undo in words. An `info` finding or an unknown pattern gives none. Whether a
fold is allowed, and whether any driver can do it, is left to the guards and the drivers.

By convention `finding.entities[0]` is the one to act on: a remote host for what one source does, a service for what
many sources (or forged ones) do to it, an own host for what leaves it. Where it is known to be a pod of ours, the pod
itself is isolated.
"""

import dataclasses
import ipaddress
import math
from collections.abc import Callable

from loomidi.contracts import Finding, FoldKind, FoldSpec, Match, Severity
from loomidi.ionic.decide import manifests
from loomidi.ionic.decide.places import REMOTE_KINDS, Place, Where, place

RATE_TTL_S, DROP_TTL_S, ISOLATE_TTL_S, SCALE_TTL_S, ROLLBACK_TTL_S = 60.0, 300.0, 900.0, 1800.0, 3600.0
MOVE_TTL_S = 60.0  # what has no way back has nothing to be taken back after it
SOURCE_PPS, SERVICE_PPS = 100, 2000  # let through when the finding has no learned baseline
MOST_PPS = 1_000_000
ADDED_REPLICAS = 2
FEW_SOURCES = 3  # more distinct sources than this: distributed, so no source is blamed
_WIDEST = {4: 24, 6: 64}  # IP version -> the shortest prefix that counts as close together
_ONE_PROTOCOL = {"amplification": 17, "udp_flood": 17, "syn_flood": 6, "tcp_flag_flood": 6}  # when the entity has none
_ANSWERED = frozenset({"syn_flood", "tcp_flag_flood"})  # by pods; more of them take no load off a link that is full
_RATE_UNITS = frozenset({"packets/s", "pps", "1/s", "syns/s", "syn/s"})
SOURCE_COUNTS = frozenset({"sources", "distinct_sources", "source_count"})


def propose(finding: Finding, where: Where = place) -> tuple[FoldSpec, ...]:
    """Candidate folds for the finding, gentlest first; empty when there is nothing fitting to do.

    `where`: the places of entities that are named otherwise than by their address, such as pods.
    """
    recipe = RECIPES.get(finding.pattern)
    if recipe is None or finding.severity is Severity.INFO or not finding.entities:
        return ()
    return tuple(recipe(finding, where))


def _flood(finding: Finding, where: Where) -> list[FoldSpec]:
    """One source is slowed, then dropped; a few that lie close together are slowed as one network.

    Many or forged sources: the service is protected, no source is touched.
    """
    culprit = where(finding.entities[0])
    blamed = culprit.address and not (_distributed(finding) or _is_victim(finding, culprit, where))
    if blamed and _is_own_pod(culprit):
        return [_isolate(finding, finding.entities[0], culprit)]
    if blamed and culprit.kind in REMOTE_KINDS:
        return _against(finding, culprit, "ingress", _attacked(finding, where))
    if network := _their_network(finding, where):
        return _against(finding, Place("network", network), "ingress", _attacked(finding, where))
    service = _service(finding, where)
    if service is None:
        return []
    limit = _limit_service(finding, *service)
    more = service[1].kind != "node" and finding.pattern in _ANSWERED
    return [limit, _scale(finding, *service)] if more else [limit]


def _one_source(finding: Finding, where: Where) -> list[FoldSpec]:
    """Scans, guessing and slow requests come from one real address: they need the answers. Of a storm of them the
    service is told first, and is protected."""
    culprit = where(finding.entities[0])
    if _is_own_pod(culprit):
        return [_isolate(finding, finding.entities[0], culprit)]
    if _distributed(finding) and culprit.kind not in REMOTE_KINDS and (service := _service(finding, where)):
        return [_limit_service(finding, *service)]
    return _against(finding, culprit, "ingress", _attacked(finding, where)) if culprit.address else []


def _leak(finding: Finding, where: Where) -> list[FoldSpec]:
    """Something leaves an own host: cut the far end off, then isolate the host itself."""
    entity, *others = finding.entities
    own = where(entity)
    far = [there for there in map(where, others) if there.address and there.address != own.address]
    folds = _against(finding, far[0], "egress", own if own.kind == "pod" else None) if far else []
    if finding.pattern == "beaconing":
        folds = [fold for fold in folds if fold.action != "rate"]  # a beat of one call a minute has no rate to cut
    return [*folds, _isolate(finding, entity, own)]


def _release(finding: Finding, _where: Where) -> list[FoldSpec]:
    """Back to the release before; the pods of that release that are left go on serving meanwhile."""
    workload = finding.entities[0]
    undo = (
        f"After {ROLLBACK_TTL_S:g} s the pod template that was replaced is put back, unless "
        "somebody has changed it since: a release that works, deployed before then, stays."
    )
    return [FoldSpec(FoldKind.ROLLBACK, workload, "rollback", ttl_s=ROLLBACK_TTL_S, because=finding.id, undo=undo)]


def _out_of_memory(finding: Finding, where: Where) -> list[FoldSpec]:
    """Back to the release before where this one is new; what has run for long, or was just busy, is told only."""
    return _release(finding, where) if any(one.name == "revision" for one in finding.evidence) else []


def _for_people(_finding: Finding, _where: Where) -> list[FoldSpec]:
    """Nobody serves, or a node is gone: the cluster makes anew what it can by itself, and what somebody has switched
    off is not switched on again."""
    return []


def _told_only(_finding: Finding, _where: Where) -> list[FoldSpec]:
    """Who is named is the victim: whatever is done to its address is what the attacker is after (ADR 0093)."""
    return []


def _saturated(finding: Finding, where: Where) -> list[FoldSpec]:
    """More replicas of the workload that waits for its processor."""
    workload = finding.entities[0]
    return [_scale(finding, workload, where(workload))]


def _pressed(finding: Finding, where: Where) -> list[FoldSpec]:
    """The pod that was found to cost least is moved: its controller makes another, and the node takes none now."""
    pod = finding.entities[0]
    undo = "An eviction does not come back; the pod's controller makes another one on a node that has room."
    match = Match(source=where(pod).address)
    return [FoldSpec(FoldKind.EVICT, pod, "evict", match, ttl_s=MOVE_TTL_S, because=finding.id, undo=undo)]


RECIPES: dict[str, Callable[[Finding, Where], list[FoldSpec]]] = {
    "syn_flood": _flood,
    "udp_flood": _flood,
    "icmp_flood": _flood,
    "ip_flood": _flood,
    "tcp_flag_flood": _flood,
    "amplification": _flood,
    "vertical_scan": _one_source,
    "horizontal_scan": _one_source,
    "brute_force": _one_source,
    "slow_requests": _one_source,
    "beaconing": _leak,
    "exfiltration": _leak,
    "neighbour_spoofing": _told_only,
    "crash_loop": _release,
    "cpu_saturation": _saturated,
    "node_pressure": _pressed,
    "out_of_memory": _out_of_memory,
    "no_endpoints": _for_people,
    "node_unready": _for_people,
}


def _is_own_pod(culprit: Place) -> bool:
    """A pod that acts; one that is named with a port is spoken to."""
    return culprit.kind == "pod" and not culprit.port


def _attacked(finding: Finding, where: Where) -> Place | None:
    """The pod or service of a cluster that an outsider acts on, the first that is named."""
    return next(
        (there for there in map(where, finding.entities[1:]) if there.kind in ("pod", "service") and there.uid), None
    )


def _against(finding: Finding, remote: Place, direction: str, guarded: Place | None) -> list[FoldSpec]:
    """Rate-limit the remote end; then drop it. A whole network, or a node with all its pods, is only ever slowed."""
    host = f"{'network' if '/' in remote.address else 'host'}/{remote.address}"
    target = f"node/{remote.name}" if remote.kind == "node" else host
    slow = FoldSpec(
        FoldKind.RECONFIGURE_NETWORK,
        target,
        "rate",
        Match(source=remote.address),
        rate_pps=(rate := _rate(finding, SOURCE_PPS)),
        burst=2 * rate,
        ttl_s=RATE_TTL_S,
        because=finding.id,
    )
    drop = dataclasses.replace(slow, action="drop", rate_pps=0, burst=0, ttl_s=DROP_TTL_S)
    folds = [slow] if "/" in remote.address or remote.kind == "node" else [slow, drop]
    return [_with_policy(finding, fold, direction, guarded) for fold in folds]


def _with_policy(finding: Finding, fold: FoldSpec, direction: str, guarded: Place | None) -> FoldSpec:
    name = manifests.object_name("loomidi", fold.action, finding.id)
    notes = _notes(fold)
    if fold.action == "rate":
        notes["loomidi.io/rate-pps"] = str(fold.rate_pps)
        notes["loomidi.io/note"] = "NetworkPolicy has no rate: applied as it is, this blocks what the shield only slows"
    remote = fold.match.source
    undo = (
        f"The entry for {remote} ends by itself after {fold.ttl_s:g} s. Sooner: remove {remote} from the shield; "
        f"in a cluster: kubectl delete networkpolicy {name} -n {guarded.namespace if guarded else 'default'}."
    )
    manifest = manifests.network_policy(name, direction, [remote], notes, guarded)
    return dataclasses.replace(fold, manifest=manifest, undo=undo)


def _limit_service(finding: Finding, entity: str, service: Place) -> FoldSpec:
    """Cap what reaches the service as a whole; the sources may be forged, so none is named."""
    rate = _rate(finding, SERVICE_PPS)
    fold = FoldSpec(
        FoldKind.RECONFIGURE_NETWORK,
        entity,
        "rate",
        Match(
            destination=service.address,
            source_port=_reflected_port(finding),
            destination_port=service.port,
            protocol=service.protocol or _ONE_PROTOCOL.get(finding.pattern, 0),
        ),
        rate_pps=rate,
        burst=2 * rate,
        ttl_s=RATE_TTL_S,
        because=finding.id,
    )
    if service.kind == "node":  # no policy of a cluster guards its nodes
        return dataclasses.replace(fold, undo=f"The limit on {entity} ends by itself after {fold.ttl_s:g} s.")
    name = manifests.object_name("loomidi", "service", finding.id)
    ports, in_words = manifests.narrowing(finding.pattern, service)
    notes = _notes(fold) | {
        "loomidi.io/rate-pps": str(rate),
        "loomidi.io/note": f"NetworkPolicy has no rate: applied as it is, this lets in {in_words}",
    }
    undo = (
        f"The limit on {entity} ends by itself after {fold.ttl_s:g} s. Sooner: remove the limit; "
        f"in a cluster: kubectl delete networkpolicy {name} -n {service.namespace}."
    )
    return dataclasses.replace(fold, manifest=manifests.service_policy(name, service, ports, notes), undo=undo)


def _scale(finding: Finding, entity: str, service: Place) -> FoldSpec:
    """More replicas behind a service that many sources press on."""
    fold = FoldSpec(FoldKind.SCALE_OUT, entity, "scale", replicas=ADDED_REPLICAS, ttl_s=SCALE_TTL_S, because=finding.id)
    workload = service.owner or manifests.object_name(service.name)
    manifest = manifests.scale(workload, service.namespace, ADDED_REPLICAS, _notes(fold))
    undo = (
        f"After {fold.ttl_s:g} s the workload behind {entity} goes back to the number of replicas noted before. "
        f"Sooner: kubectl scale deployment {workload} -n {service.namespace} --replicas=<the number before>."
    )
    return dataclasses.replace(fold, manifest=manifest, undo=undo)


def _isolate(finding: Finding, entity: str, pod: Place) -> FoldSpec:
    """Nothing in or out of the own host or pod until somebody has looked, or the time is up."""
    fold = FoldSpec(
        FoldKind.ISOLATE_POD,
        entity,
        "isolate",
        Match(source=pod.address),
        ttl_s=ISOLATE_TTL_S,
        because=finding.id,
    )
    name = manifests.object_name("loomidi", "isolate", finding.id)
    mark = manifests.object_name(finding.id)
    undo = (
        f"After {fold.ttl_s:g} s the label and the policy go. Sooner: kubectl delete networkpolicy {name} "
        f"-n {pod.namespace}, then kubectl label pod {pod.name if pod.kind == 'pod' else '<the pod>'} "
        f"-n {pod.namespace} {manifests.QUARANTINE}-."
    )
    return dataclasses.replace(fold, manifest=manifests.isolation_policy(name, pod, mark, _notes(fold)), undo=undo)


def _notes(fold: FoldSpec) -> dict[str, str]:
    return {
        "loomidi.io/finding": fold.because,
        "loomidi.io/action": fold.action,
        "loomidi.io/ttl-seconds": f"{fold.ttl_s:g}",
    }


def _service(finding: Finding, where: Where) -> tuple[str, Place] | None:
    """The first service, workload or pod that is spoken to; else the entity to act on, all its ports."""
    found = [(entity, where(entity)) for entity in finding.entities]
    named = [
        pair for pair in found if pair[1].kind in ("service", "workload") or (pair[1].kind == "pod" and pair[1].port)
    ]
    named = named or [pair for pair in found if pair[1].kind == "node" and pair[1].port]  # a port of all nodes
    named = named or [pair for pair in found[:1] if pair[1].kind == "pod"]
    return next(iter(named or [pair for pair in found[:1] if pair[1].address]), None)


def _is_victim(finding: Finding, suspect: Place, where: Where) -> bool:
    """Whether the host named first is the one that is pressed on: it is a service's host, or hit by reflectors."""
    serving = [there.address for there in map(where, finding.entities) if there.kind == "service" or there.port]
    reflected = finding.pattern == "amplification" and not serving
    return reflected or suspect.address in serving


def _distributed(finding: Finding) -> bool:
    """Whether the evidence counts more than a few distinct sources, or the detector says that they are forged."""
    for evidence in finding.evidence:
        if evidence.name in SOURCE_COUNTS and isinstance(evidence.value, (int, float)) and evidence.value > FEW_SOURCES:
            return True
        if evidence.name in ("spoofed", "distributed") and evidence.value not in (0, "", "no", "false"):
            return True
    return False


def _their_network(finding: Finding, where: Where) -> str:
    """The smallest network of all sources, where they lie close together: as the detector tells it, or by those that
    are named when these are all; '' otherwise."""
    if crowd := next((str(evidence.value) for evidence in finding.evidence if evidence.name == "source_network"), ""):
        return crowd
    named = [there.address for there in map(where, finding.entities) if there.kind in REMOTE_KINDS and there.address]
    told = [evidence.value for evidence in finding.evidence if evidence.name in SOURCE_COUNTS]
    if len(named) < 2 or told != [len(named)] or any("/" in address for address in named):
        return ""
    network = ipaddress.ip_network(named[0])
    while network.prefixlen > _WIDEST[network.version] and not all(_within(address, network) for address in named):
        network = network.supernet()
    return str(network) if all(_within(address, network) for address in named) else ""


def _within(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return ipaddress.ip_address(address) in network


def _reflected_port(finding: Finding) -> int:
    """The source port that amplified answers come from; 0 for anything else."""
    if finding.pattern != "amplification":
        return 0
    ports = [e.value for e in finding.evidence if e.name == "source_port" and isinstance(e.value, int)]
    return ports[0] if ports else 0


def _rate(finding: Finding, default: int) -> int:
    """Packets per second that stay allowed: the learned baseline that was broken, else the default."""
    for evidence in finding.evidence:
        known = isinstance(evidence.threshold, (int, float)) and math.isfinite(evidence.threshold)
        if known and evidence.unit in _RATE_UNITS:
            return min(MOST_PPS, max(1, math.ceil(float(evidence.threshold or 0))))
    return default
