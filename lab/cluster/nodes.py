"""Nodes: each is a network, mount, process and host name space with containerd, kubelet and kube-proxy inside.

Called by `raising`, and by whoever stops and starts a node or parts of it. In: `Site` and a node's number. Out: running
processes. All mounts are made inside the node's mount namespace, all processes inside its process namespace: when its
first process is killed, the kernel removes both.
"""

import contextlib
import json
import shutil
import signal
import socket
import time
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab import images
from loomidi_lab.cluster import building, certificates, cgroups, tools, wiring
from loomidi_lab.cluster.control_plane import Site
from loomidi_lab.cluster.processes import Launcher, children, entering, inside

# Everything that a kubelet, containerd or CNI plugin writes outside its own folder lands in memory of the node. Pods'
# logs are where every other node has them, too: node agents look there.
_BOOT = """set -e
mount --make-rprivate /
mount -t proc proc /proc
for each in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $each; done
while umount /sys/fs/bpf 2>/dev/null; do :; done
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns /run/lock /var/log/pods
mount --bind "$3" /var/log/pods
mount --make-rshared /
hostname "$1"
exec "$2"
"""
_READY_S = 15.0
_SANDBOX = "registry.k8s.io/pause:3.10"


def name(number: int) -> str:
    """Of a node, for Kubernetes."""
    return f"n{number}"


def folder(site: Site, number: int) -> Path:
    """Of a node's files."""
    return site.lab.folder / name(number)


def boot(site: Site, number: int, template: "images.Template") -> None:
    """The node's first process, its images, containerd."""
    _first(site, number)
    images.seed(template, folder(site, number) / "containerd", site.launcher.joining())
    start_containerd(site, number)


def _first(site: Site, number: int) -> None:
    """The process that holds the node's name spaces."""
    for part in ("net.d", "kubelet", "logs"):
        (folder(site, number) / part).mkdir(parents=True, exist_ok=True)
    words = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork")
    script = ("sh", "-c", _BOOT, "sh", name(number), str(building.pause()), str(folder(site, number) / "logs"))
    site.launcher.daemon(f"{name(number)}-init", [*entering(site.lab.node(number)), *words, *script])


def restart(site: Site, number: int) -> None:
    """Switch the node off, as by its power, and on again up to containerd. Its disk stays: images, kubelet, logs.

    1 every process ends, pods and agents too, and with them mounts and pins   2 groups and what a boot clears go
    3 its network is new: no link of a pod, no program, no table   4 it boots
    """
    site.launcher.stop(f"{name(number)}-init", number=signal.SIGKILL)  # 1
    cgroups.vacate(site.lab, name(number))  # 2
    shutil.rmtree(folder(site, number) / "containerd" / "state", ignore_errors=True)
    wiring.rewire(site.lab, site.ranges, number, site.nodes, site.network)  # 3
    _first(site, number)  # 4
    start_containerd(site, number)


def init(site: Site, number: int) -> int:
    """The host's number of a node's first process. Raises EnvironmentLacks when the node is down."""
    until = time.monotonic() + _READY_S
    while True:
        holder = site.launcher.pid(f"{name(number)}-init")
        found = [child for child in children(holder) if _settled(child)] if holder else []
        if found:
            return found[0]
        if time.monotonic() > until:
            last = site.launcher.last_words(f"{name(number)}-init")
            raise EnvironmentLacks(f"node {name(number)} does not run: {last}")
        time.sleep(0.02)


def _settled(pid: int) -> bool:
    """Whether it has mounted everything and become the process that waits."""
    try:
        found = str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")  # it was compiled anew since
        return Path(found).name == building.pause().name
    except OSError:
        return False


def start_containerd(site: Site, number: int) -> None:
    """containerd, on images that are there already."""
    home = folder(site, number)
    (home / "containerd.toml").write_text(_containerd(site, home))
    if site.network == "bridge":
        (home / "net.d" / "10-bridge.conflist").write_text(_bridge(site, number))
    path = f"{tools.binary('containerd').parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "CILIUM_SOCK": str(home / "cilium.sock")}
    arguments = [str(tools.binary("containerd")), "--config", str(home / "containerd.toml")]
    site.launcher.daemon(f"{name(number)}-containerd", [*inside(init(site, number)), *arguments], environment)


def await_containerd(site: Site, number: int, timeout_s: float = 20.0) -> None:
    """Until it takes calls: a kubelet that asks before that ends at once. Raises EnvironmentLacks.

    Its socket being there says nothing: one that was killed has left its own.
    """
    until = time.monotonic() + timeout_s
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, contextlib.suppress(OSError):
            client.connect(str(folder(site, number) / "containerd.sock"))
            return
        label = f"{name(number)}-containerd"
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{label} takes no calls after {timeout_s:g} s: {site.launcher.last_words(label)}")
        time.sleep(0.05)


def start_kubelet(site: Site, number: int, authority: certificates.Authority | None = None) -> None:
    """The kubelet; with the authority, its certificates are made first."""
    home, address = folder(site, number), site.ranges.node(number)
    if authority:
        user = f"system:node:{name(number)}"
        authority.issue(f"{name(number)}-server", user, "system:nodes", hosts=(name(number), address))
        authority.kubeconfig(site.pki / f"{name(number)}.kubeconfig", site.server, user, "system:nodes")
    (home / "kubelet.json").write_text(json.dumps(_kubelet(site, number), indent=1))
    arguments = [
        str(tools.binary("kubelet")),
        f"--kubeconfig={site.pki / f'{name(number)}.kubeconfig'}",
        f"--config={home / 'kubelet.json'}",
        f"--root-dir={home / 'kubelet'}",
        f"--cert-dir={home / 'kubelet' / 'pki'}",
        f"--hostname-override={name(number)}",
        f"--node-ip={address}",
    ]
    site.launcher.daemon(f"{name(number)}-kubelet", [*inside(init(site, number)), *arguments])


def start_proxy(site: Site, number: int) -> None:
    """kube-proxy: Services by nftables of the node."""
    arguments = [
        str(tools.binary("kube-proxy")),
        f"--kubeconfig={site.pki / 'proxy.kubeconfig'}",
        "--proxy-mode=nftables",
        f"--hostname-override={name(number)}",
        f"--cluster-cidr={site.ranges.pods}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]
    site.launcher.daemon(f"{name(number)}-proxy", [*inside(init(site, number)), *arguments])


def stop(launcher: Launcher, number: int, *parts: str) -> None:
    """End parts of a node: kubelet, containerd, proxy."""
    for part in parts:
        launcher.stop(f"{name(number)}-{part}")


def _containerd(site: Site, home: Path) -> str:
    plugins = tools.binary("bridge").parent if site.network == "bridge" else home / "cni"
    return f"""version = 3
root = "{home}/containerd/root"
state = "{home}/containerd/state"
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.ttrpc"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{_SANDBOX}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE runc dies with "can't get final child's PID"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{home}/net.d"
"""


def _bridge(site: Site, number: int) -> str:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": site.ranges.pods_of(number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-addresses",
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge]}, indent=1)


def _kubelet(site: Site, number: int) -> dict[str, object]:
    home = folder(site, number)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(site.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(site.pki / f"{name(number)}-server.crt"),
        "tlsPrivateKeyFile": str(site.pki / f"{name(number)}-server.key"),
        "containerRuntimeEndpoint": f"unix://{home / 'containerd.sock'}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{site.lab.cgroup}/{name(number)}",  # of its own, or the nodes delete each other's pods
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "resolvConf": "",
        "clusterDNS": [site.ranges.dns],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(home / "logs"),
        "volumePluginDir": str(home / "volume-plugins"),
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,  # off: no registry has them, what a full disk makes it collect is gone
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }
