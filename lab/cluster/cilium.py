"""Cilium as a lab's network: agent, Hubble and CNI plugin on each node, custom resources. No operator, no L7 proxy.

Called by `raising` for `--network cilium`. In: `Site`. Out: a cilium-agent per node inside the node's namespaces, where
/sys/fs/bpf is the node's own (with a second bpffs mount its policy maps stay empty and everything is denied), and what
still lacks until every agent works.
"""

import http.client
import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi_lab.cluster import building, nodes, tools
from loomidi_lab.cluster.api import Api, ApiError, ApiRefused
from loomidi_lab.cluster.control_plane import Site, path_of
from loomidi_lab.cluster.processes import inside

_COMPILERS = {"clang": "clang-19", "llc": "llc-19"}
_HOST_TOOLS = {"clang-19": "clang-19", "llc-19": "llvm-19", "ipset": "ipset"}
_ANSWER_S = 2.0
_SERVED_S = 20.0
# The agent sets three things that hold for the whole machine. Inside the node they are files of its own, so that the
# host stays as it was: one of them (unprivileged_bpf_disabled) nobody could take back before the next boot.
_PREPARE = """set -e
mkdir -p /sys/fs/bpf/tc/globals /var/run/cilium
mountpoint -q /var/run/cilium || mount --bind "$1" /var/run/cilium
for each in kernel/unprivileged_bpf_disabled kernel/timer_migration net/core/bpf_jit_enable; do
  [ -e "/proc/sys/$each" ] && ! mountpoint -q "/proc/sys/$each" || continue
  cat "/proc/sys/$each" > "$1/${each##*/}"
  mount --bind "$1/${each##*/}" "/proc/sys/$each"
done
shift
exec "$@"
"""


def check() -> None:
    """Raises EnvironmentLacks when the host lacks what the agent calls."""
    missing = [package for tool, package in _HOST_TOOLS.items() if not shutil.which(tool)]
    if missing:
        raise EnvironmentLacks(f"Cilium compiles its programs on the node: install {', '.join(missing)}")


def lay_down() -> None:
    """BPF sources and CRDs beside the binaries: called once by `build`."""
    home = tools.MODULES["cilium"].home
    if (home / "crds").is_dir():
        return
    found, partial = building.sources(tools.MODULES["cilium"]), home / ".lay"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in found.glob("pkg/k8s/apis/cilium.io/client/crds/v2*/*.yaml"):
        (partial / path.name).write_bytes(path.read_bytes())
    shutil.rmtree(home / "bpf", ignore_errors=True)
    shutil.copytree(found / "bpf", home / "bpf", copy_function=shutil.copyfile)
    for path in (home / "bpf").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    partial.rename(home / "crds")


def apply_resources(api: Api) -> None:
    """Its custom resource definitions: the operator that would do it is not there."""
    for path in sorted((tools.MODULES["cilium"].home / "crds").glob("*.yaml")):
        obj = yaml.safe_load(path.read_text())
        api.patch(path_of(obj), obj, kind="apply")


def start(site: Site, number: int) -> None:
    """The agent and the plugin of one node."""
    home, module = nodes.folder(site, number), tools.MODULES["cilium"]
    _assign(site, number)
    for part in ("run", "lib", "bin"):
        (home / "cilium" / part).mkdir(parents=True, exist_ok=True)
    shutil.copytree(module.home / "bpf", home / "cilium" / "lib" / "bpf", dirs_exist_ok=True)
    for link, tool in _COMPILERS.items():
        (home / "cilium" / "bin" / link).unlink(missing_ok=True)
        (home / "cilium" / "bin" / link).symlink_to(str(shutil.which(tool)))
    (home / "cni").mkdir(exist_ok=True)
    for path in (tools.binary("cilium-cni"), tools.binary("loopback")):
        shutil.copy2(path, home / "cni" / path.name)
    plugin = {"type": "cilium-cni", "log-file": str(home / "logs" / "cilium-cni.log")}
    conflist = {"cniVersion": "0.3.1", "name": "cilium", "plugins": [plugin]}
    (home / "net.d" / "05-cilium.conflist").write_text(json.dumps(conflist))
    words = [*inside(nodes.init(site, number)), "sh", "-c", _PREPARE, "sh", str(home / "cilium" / "run")]
    environment = {
        "PATH": f"{home}/cilium/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "K8S_NODE_NAME": nodes.name(number),
    }
    agent = [str(tools.binary("cilium-agent")), *_flags(site, home)]
    site.launcher.daemon(f"{nodes.name(number)}-cilium", [*words, *agent], environment)


def _assign(site: Site, number: int) -> None:
    """Give a node its range of pod addresses, the one that the lab's router sends to it; an operator would choose."""
    ranges = {"ipam": {"podCIDRs": [site.ranges.pods_of(number)]}}
    node = {"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": nodes.name(number)}}
    until = time.monotonic() + _SERVED_S
    with Api(site.kubeconfig) as api:
        while problem := _refusal(api, node | {"spec": ranges}):
            if time.monotonic() > until:
                raise EnvironmentLacks(f"node {nodes.name(number)} got no range for its pods: {problem}")
            time.sleep(0.05)


def _refusal(api: Api, obj: dict[str, Any]) -> str:
    """Why an object could not be applied yet: a kind is served a little after it was defined. Empty when it was."""
    try:
        api.patch(path_of(obj), obj, kind="apply")
    except (ApiError, ApiRefused) as error:
        return str(error)
    return ""


def lacking(site: Site) -> list[str]:
    """Agents that do not say of themselves that they work, in words; empty when pods can be connected and policed."""
    found = {nodes.name(number): _complaint(site, number) for number in range(1, site.nodes + 1)}
    return [f"Cilium on {name}: {complaint}" for name, complaint in found.items() if complaint]


def _complaint(site: Site, number: int) -> str:
    try:
        said = ask(site, number, "/v1/healthz").get("cilium", {})
    except Retryable as error:
        return str(error)
    return "" if said.get("state") == "Ok" else str(said.get("msg") or said.get("state") or "no state")


def ask(site: Site, number: int, path: str, *, brief: bool = True) -> Any:
    """What the agent of a node answers to a GET of its own API, such as /v1/endpoint. Raises Retryable."""
    asking = http.client.HTTPConnection("localhost")
    asking.sock = socket.socket(socket.AF_UNIX)
    asking.sock.settimeout(_ANSWER_S)
    try:
        asking.sock.connect(str(nodes.folder(site, number) / "cilium.sock"))
        asking.request("GET", path, headers={"brief": str(brief).lower()})
        return json.loads(asking.getresponse().read() or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Retryable(f"its agent does not answer ({error})") from error
    finally:
        asking.close()


def _flags(site: Site, home: Path) -> list[str]:
    flags = {
        "k8s-kubeconfig-path": site.kubeconfig,
        "k8s-api-server-urls": site.server,
        "socket-path": home / "cilium.sock",
        "state-dir": home / "cilium" / "run",
        "lib-dir": home / "cilium" / "lib",
        "identity-allocation-mode": "crd",
        "ipam": "cluster-pool",
        "enable-ipv6": "false",
        "routing-mode": "native",
        "ipv4-native-routing-cidr": site.ranges.pods,
        "auto-direct-node-routes": "true",
        "enable-ipv4-masquerade": "false",
        "enable-l7-proxy": "false",
        "enable-health-checking": "false",
        "kube-proxy-replacement": "false",
        "enable-hubble": "true",
        "hubble-socket-path": home / "hubble.sock",
        "monitor-aggregation": "medium",  # as its chart has it: one event a connection, not one a packet
        "devices": "eth0",
        "cni-log-file": home / "logs" / "cilium-cni.log",
        "gops-port": "0",
    }
    return [f"--{name}={value}" for name, value in flags.items()]
