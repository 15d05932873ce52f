"""Bring a lab up: every step in order, nothing half started when one fails.

Called by `loomidi-lab up` and by tests. In: `UpSettings`. Out: the state file, written last. Order, repeated by number:

    1 check what can be checked          5 control plane starts, nodes boot beside it
    2 clear what an earlier end left     6 API server ready: controllers, DNS, add-ons
    3 choose addresses                   7 kubelets and proxies; Cilium where asked for
    4 certificates, groups, wires        8 nodes Ready, DNS answers: the state file
"""

import concurrent.futures as cf
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loomidi import __version__
from loomidi.contracts.errors import Conflict, EnvironmentLacks, LoomidiError, UsageError
from loomidi_lab import images
from loomidi_lab.cluster import (
    addons,
    addressing,
    building,
    certificates,
    cgroups,
    cilium,
    clearing,
    control_plane,
    nodes,
    tools,
    wiring,
)
from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.control_plane import Site
from loomidi_lab.cluster.places import Place, labs, place

Progress = Callable[[str], object]
NETWORKS = ("bridge", "cilium")
_HOST_TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "sysctl": "procps",
}
_LONGEST_PATH = 60  # of a lab's folder: sockets inside have room for 107


@dataclasses.dataclass(frozen=True, slots=True)
class UpSettings:
    """What a lab is to be."""

    name: str = "lab"
    nodes: int = 2
    # Real nodes; each costs about 150 MB.
    network: str = "bridge"
    # bridge: a plain bridge and routes. cilium: Cilium's eBPF datapath and policies.
    fake_nodes: int = 0
    # Nodes that exist in the API only (KWOK): their pods have a status and no packets.
    range: str = ""
    # A /15 for the lab; empty: a free one is chosen.
    api_port: int = control_plane.API_PORT
    # Of the API server, on the lab's router.
    timeout_s: float = 120.0
    # For everything; a slow machine may need longer, a broken one is told of.


def check(settings: UpSettings) -> None:
    """Everything that can be known before anything is made. Raises UsageError, Conflict, EnvironmentLacks."""
    if settings.network not in NETWORKS:
        raise UsageError(f"no network {settings.network!r}; use {' or '.join(NETWORKS)}")
    if not 1 <= settings.nodes <= addressing.MOST_NODES:
        raise UsageError(f"{settings.nodes} nodes: use 1 to {addressing.MOST_NODES}, and --fake-nodes for more")
    if not 0 <= settings.fake_nodes <= 10_000:
        raise UsageError(f"{settings.fake_nodes} fake nodes: use 0 to 10000")
    if not 1 <= settings.api_port <= 65535:
        raise UsageError(f"--api-port {settings.api_port}: use 1 to 65535")
    control_plane.check_port(settings.api_port)
    place(settings.name)
    if os.geteuid() != 0:
        raise EnvironmentLacks("the lab needs root: it makes network namespaces and control groups; run with sudo")
    missing = {package for tool, package in _HOST_TOOLS.items() if not shutil.which(tool)}
    if missing:
        raise EnvironmentLacks(f"missing: {', '.join(sorted(missing))}; run tools/install_ebpf_deps.sh --lab")
    cgroups.check()
    if settings.range:
        addressing.choose(settings.range)
    building.check_disk(labs())
    if settings.network == "cilium":
        cilium.check()
    optional = ("cilium",) if settings.network == "cilium" else ()
    lacking = tools.lacking(optional=optional) + ([] if building.pause().exists() else ["pause"])
    if lacking:
        with_ = " --with cilium" if set(lacking) & {"cilium-agent", "cilium-cni"} else ""
        raise EnvironmentLacks(f"not built yet: {', '.join(lacking)}; run `loomidi-lab build{with_}` (once)")
    folder = str(place(settings.name).folder)
    if len(folder) > _LONGEST_PATH:
        raise EnvironmentLacks(f"{folder} is too long for sockets inside; name a shorter place with LOOMIDI_LAB_CACHE")
    if folder.startswith(("/run/", "/var/lib/", "/var/log/")):
        raise EnvironmentLacks(f"nodes have a {folder} of their own; name another place with LOOMIDI_LAB_CACHE")


def up(settings: UpSettings, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Bring a lab up; its state. Raises Conflict when it is up already; on any other error nothing is left."""
    check(settings)  # 1
    lab = place(settings.name)
    started = time.monotonic()
    with locked(lab):
        if running(lab):
            raise Conflict(f"lab {lab.name} is up already; use it, or `loomidi-lab down --name {lab.name}` first")
        if left := clearing.leftovers(lab):
            progress(f"clearing what an earlier end left: {len(left)} things, such as {left[0]}")
            clearing.clear(lab)  # 2
        template = images.template(progress=progress)
        try:
            state = _raise(lab, settings, template, progress)
        except BaseException:
            clearing.clear(lab)  # also on Ctrl-C: nothing half started
            raise
    progress(f"ready after {time.monotonic() - started:.1f} s")
    return state


def _raise(lab: Place, settings: UpSettings, template: "images.Template", progress: Progress) -> dict[str, Any]:
    until = time.monotonic() + settings.timeout_s
    site = Site(
        lab, addressing.choose(settings.range), settings.nodes, settings.network, settings.api_port, settings.fake_nodes
    )  # 3
    clearing.remember_kernel()
    lab.folder.mkdir(parents=True, mode=0o755)
    authority = control_plane.certify(site)  # 4
    cgroups.make(lab, site.nodes)
    wiring.wire(lab, site.ranges, site.nodes, site.network)
    numbers = range(1, site.nodes + 1)
    with cf.ThreadPoolExecutor(4) as pool:
        control_plane.start_api(site)  # 5
        booting = [pool.submit(nodes.boot, site, number, template) for number in numbers]
        progress(f"control plane starts on {site.server}, {site.nodes} nodes boot")
        with control_plane.wait_api(site, until - time.monotonic()) as api:
            _join(site, api, booting, authority)
            progress("kubelets join")
            wait_ready(site, api, until)  # 8
            _name_ranges(site, api)
    state = _state(site)
    partial = lab.state.with_suffix(".partial")
    partial.write_text(json.dumps(state, indent=1))
    partial.rename(lab.state)
    return state


def _join(site: Site, api: Api, booting: "list[cf.Future[None]]", authority: certificates.Authority) -> None:
    control_plane.start_controllers(site)  # 6
    if site.network == "cilium":
        cilium.apply_resources(api)
    addons.apply_dns(site, api)
    for boot in booting:
        boot.result()
    for number in range(1, site.nodes + 1):  # 7
        nodes.await_containerd(site, number)
        nodes.start_kubelet(site, number, authority)
        nodes.start_proxy(site, number)
        if site.network == "cilium":
            cilium.start(site, number)
    if site.fake_nodes:
        addons.start_kwok(site, api)


def _name_ranges(site: Site, api: Api) -> None:
    """Each node's pod range in its spec, where no controller gives them out: clients that ask learn the real one."""
    for number in range(1, site.nodes + 1) if site.network == "bridge" else ():
        pods = site.ranges.pods_of(number)
        api.patch(f"/api/v1/nodes/{nodes.name(number)}", {"spec": {"podCIDR": pods, "podCIDRs": [pods]}})


def wait_ready(site: Site, api: Api, until: float) -> None:
    """Until nodes are Ready, pods may be created and DNS has an endpoint. Raises EnvironmentLacks: what lacks."""
    while True:
        lacking = _lacking(site, api)
        if not lacking:
            return
        if time.monotonic() > until:
            labels = [f"n{number}-{part}" for number in range(1, site.nodes + 1) for part in ("kubelet", "containerd")]
            dead = [f"{each}: {site.launcher.last_words(each)}" for each in labels if not site.launcher.pid(each)]
            raise EnvironmentLacks(f"not ready in time: {'; '.join(lacking)} {'; '.join(dead)[:400]}")
        time.sleep(0.1)


def _lacking(site: Site, api: Api) -> list[str]:
    if site.network == "cilium" and (waiting := cilium.lacking(site)):
        return waiting
    found = api.list("/api/v1/nodes", resourceVersion="0")
    wanted = {f"n{number}" for number in range(1, site.nodes + 1)}
    ready = {node["metadata"]["name"] for node in found if _is_ready(node)}
    lacking = [f"node {name} is not Ready" for name in sorted(wanted - ready)]
    if lacking:
        return lacking
    if not api.exists("/api/v1/namespaces/default/serviceaccounts/default"):
        return ["no default service account"]
    slices = api.list(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        labelSelector="kubernetes.io/service-name=kube-dns",
    )
    ends = [end for each in slices for end in each.get("endpoints") or () if end["conditions"].get("ready")]
    return [] if ends else ["DNS has no ready pod"]


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _state(site: Site) -> dict[str, Any]:
    ranges = site.ranges
    return {
        "name": site.lab.name,
        "network": site.network,
        "block": ranges.block,
        "nodes": site.nodes,
        "fake_nodes": site.fake_nodes,
        "api_port": site.api_port,
        "server": site.server,
        "up_since_ns": time.time_ns(),
        "versions": {"loomidi": __version__} | {m.name: m.version for m in tools.MODULES.values()},
    }


def running(lab: Place) -> bool:
    """Whether the lab is whole: its state is written and its API server's process lives."""
    return lab.state.is_file() and _launcher_pid(lab) != 0


def _launcher_pid(lab: Place) -> int:
    from loomidi_lab.cluster.processes import Launcher

    return Launcher(lab).pid("kube-apiserver")


def busy(lab: Place) -> bool:
    """Whether somebody is bringing it up or taking it down."""
    try:
        with lab.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def locked(lab: Place) -> Iterator[None]:
    """One `up` or `down` of a lab at a time. Raises Conflict."""
    lab.lock.parent.mkdir(parents=True, exist_ok=True)
    with lab.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"another loomidi-lab works on lab {lab.name}; wait until it has ended") from error
        try:
            yield
        finally:
            lab.lock.unlink(missing_ok=True)


def down(name: str) -> bool:
    """Take a lab down. False when there was nothing."""
    lab = place(name)
    if os.geteuid() != 0:
        raise EnvironmentLacks("taking a lab down needs root; run with sudo")
    with locked(lab):
        there = bool(clearing.leftovers(lab))
        clearing.clear(lab)
    return there


__all__ = ["LoomidiError", "UpSettings", "busy", "check", "down", "locked", "running", "up", "wait_ready"]
