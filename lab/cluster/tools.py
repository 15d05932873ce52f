"""What the lab is built from: Go modules at fixed versions, and where the binaries of each lie.

Called by `building` (makes them), `control_plane`, `nodes`, `addons` (run them). In: `gomod/NAME/go.mod` and `go.sum`,
which fix every module by content. Out: paths in the cache, keyed by version and by that content.
"""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi_lab.cluster.places import PACKAGE, cache

GOMOD = PACKAGE / "gomod"


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """One go.mod and the commands built from it."""

    name: str
    requires: str  # the module path whose version names the build
    commands: dict[str, str]  # binary -> package
    linking: str = ""  # -X flags; {version} is the required version
    optional: bool = False  # built only when asked for

    @property
    def folder(self) -> Path:
        """Where its go.mod lies in the checkout."""
        return GOMOD / self.name

    @property
    def version(self) -> str:
        """Such as v1.36.4."""
        found = re.search(
            rf"(?m)^(?:require )?\s*{re.escape(self.requires)} (v\S+)", (self.folder / "go.mod").read_text()
        )
        assert found, f"{self.name}/go.mod requires no {self.requires}"
        return found.group(1)

    @property
    def home(self) -> Path:
        """Where its binaries go."""
        parts = ((self.folder / "go.mod").read_bytes(), (self.folder / "go.sum").read_bytes(), self.linking.encode())
        digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:10]
        return cache() / "tools" / f"{self.name}-{self.version.removeprefix('v')}-{digest}"

    def path(self, command: str) -> Path:
        """A binary, built or not."""
        return self.home / command

    def missing(self) -> list[str]:
        """Commands not built yet."""
        return [name for name in self.commands if not os.access(self.path(name), os.X_OK)]


_KUBERNETES_VERSION = " ".join(
    f"-X {package}.gitVersion={{version}} -X {package}.gitMajor={{major}} -X {package}.gitMinor={{minor}}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)
_HELM_VERSION = "-X helm.sh/helm/v3/internal/version.version={version}"
_CNI = "github.com/containernetworking/plugins"
_CONTAINERD = "github.com/containerd/containerd/v2"
_KYVERNO = "github.com/kyverno/kyverno"
_GATEKEEPER = "github.com/open-policy-agent/gatekeeper/v3"
_REGISTRY = "github.com/distribution/distribution/v3"
_COSIGN = "github.com/sigstore/cosign/v3"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy")

MODULES = {
    module.name: module
    for module in (
        Module(
            "kubernetes",
            "k8s.io/kubernetes",
            {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES},
            _KUBERNETES_VERSION,
        ),
        Module("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
        Module(
            "containerd",
            _CONTAINERD,
            {name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        ),
        Module(
            "cni",
            _CNI,
            {
                path.rpartition("/")[2]: f"{_CNI}/plugins/{path}"
                for path in ("main/bridge", "ipam/host-local", "main/loopback", "meta/portmap")
            },
        ),
        Module("coredns", "github.com/coredns/coredns", {"coredns": "github.com/coredns/coredns"}),
        Module("kwok", "sigs.k8s.io/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
        Module(
            "cilium",
            "github.com/cilium/cilium",
            {
                "cilium-agent": "github.com/cilium/cilium/daemon",
                "cilium-cni": "github.com/cilium/cilium/plugins/cilium-cni",
                "cilium-dbg": "github.com/cilium/cilium/cilium-dbg",
            },
            "-X github.com/cilium/cilium/pkg/version.ciliumVersion={bare}",
            optional=True,
        ),
        Module(
            "kyverno",
            _KYVERNO,
            {"kyverno": f"{_KYVERNO}/cmd/cli/kubectl-kyverno", "kyverno-controller": f"{_KYVERNO}/cmd/kyverno"},
            f"-X {_KYVERNO}/pkg/version.BuildVersion={{version}}",
            optional=True,
        ),
        Module("gatekeeper", _GATEKEEPER, {"gator": f"{_GATEKEEPER}/cmd/gator"}, optional=True),
        Module("registry", _REGISTRY, {"registry": f"{_REGISTRY}/cmd/registry"}, optional=True),
        Module("cosign", _COSIGN, {"cosign": f"{_COSIGN}/cmd/cosign"}, optional=True),
        Module("istio", "istio.io/api", {}, optional=True),  # resource definitions alone: no mesh is built
        Module("helm", "helm.sh/helm/v3", {"helm": "helm.sh/helm/v3/cmd/helm"}, _HELM_VERSION, optional=True),
    )
    if (GOMOD / module.name / "go.mod").is_file()
}
KUBERNETES = MODULES["kubernetes"].version.removeprefix("v")
_ASSETS = ("kube-apiserver", "etcd", "kubectl")  # what setup-envtest and kubebuilder lay down


def assets() -> dict[str, Path]:
    """Binaries of KUBEBUILDER_ASSETS, where that is set. Raises UsageError when it lacks one."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return {}
    found = {name: Path(given) / name for name in _ASSETS}
    missing = [name for name, path in found.items() if not os.access(path, os.X_OK)]
    if missing:
        raise UsageError(f"KUBEBUILDER_ASSETS={given} has no {', '.join(missing)}; complete it, or unset the variable")
    return found


def binary(command: str) -> Path:
    """The built binary of that name. Raises EnvironmentLacks when it is not built."""
    given = assets().get(command)
    if given:
        return given
    module = next(module for module in MODULES.values() if command in module.commands)
    path = module.path(command)
    if not os.access(path, os.X_OK):
        raise EnvironmentLacks(f"{command} is not built yet; run `loomidi-lab build{_wanted(module)}`")
    return path


def _wanted(module: Module) -> str:
    return f" --with {module.name}" if module.optional else ""


def lacking(*, optional: tuple[str, ...] = ()) -> list[str]:
    """Commands that a lab needs and that are not built."""
    given = assets()
    modules = [module for module in MODULES.values() if not module.optional or module.name in optional]
    return [name for module in modules for name in module.missing() if name not in given]
