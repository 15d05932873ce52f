"""Which links of this node belong to which pod, asked of the kernel alone: no container runtime, no API, no address.

Called by `services.agents.cutting`. In: /proc of the node, netlink of this network namespace, the kubelet's folder of
logs. Out: `PodLink`s. The kubelet puts every process of a pod into a cgroup named after the pod's UID; its network
namespace has a number here, and so has the other end of each link that leads there. So it is the same for every network
plugin, holds while the API server is away, and cannot be turned by a pod's packets. A pod's name is that of its folder
of logs.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.loom.capture.namespaces import NONE, Namespaces

LOGS = Path("/var/log/pods")
_PROC = Path("/proc")
_UID = re.compile(r"[/-]pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:[/.]|$)", re.MULTILINE)
_SETTLED, _AGAIN = 20, 30  # looks after which a process stays where it is, and after which it is looked at again


@dataclasses.dataclass(frozen=True, slots=True)
class PodLink:
    """A pod of this node with a network of its own."""

    uid: str
    namespace: str  # empty: the kubelet has no folder of its logs
    name: str
    links: tuple[int, ...]  # indices, in this network namespace


class PodLinks:
    """Looks; remembers which process to ask first, and which processes are of no pod. For one thread."""

    def __init__(self, logs: Path = LOGS, proc: Path = _PROC) -> None:
        """Raises EnvironmentLacks when netlink cannot be asked."""
        from pyroute2 import IPRoute

        self._logs, self._proc = logs, proc
        self._known: dict[str, int] = {}  # UID -> a process of it
        self._looked: dict[int, tuple[int, str]] = {}  # process -> how often it was seen, UID of its pod
        try:
            self._route, self._spaces = IPRoute(), Namespaces()
        except OSError as error:
            raise EnvironmentLacks(f"the kernel's links cannot be listed: {error.strerror}") from error

    def all(self) -> list[PodLink]:
        """Every pod of this node whose network is not the node's."""
        ends, names, found = self._spaces.ends(), self._names(), dict[str, set[int]]()
        for uid, pid in self._processes():
            if links := ends.get(self._number(pid, uid)):
                found.setdefault(uid, set()).update(links)
                self._known[uid] = pid
        self._known = {uid: pid for uid, pid in self._known.items() if uid in found}
        return [PodLink(uid, *names.get(uid, ("", "")), tuple(sorted(links))) for uid, links in sorted(found.items())]

    def of(self, uid: str) -> PodLink | None:
        """One pod, as it is now; None when it is not here, or has no network of its own."""
        pid = self._known.get(uid)
        links = self._spaces.ends().get(self._number(pid, uid)) if pid is not None else None
        if not links:
            return next((pod for pod in self.all() if pod.uid == uid), None)
        return PodLink(uid, *self._names().get(uid, ("", "")), tuple(sorted(links)))

    def addresses(self) -> list[str]:
        """The node's own addresses."""
        return [str(one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")) for one in self._route.get_addr()]

    def uplinks(self) -> list[int]:
        """Links over which the default routes go."""
        routes = self._route.get_default_routes()
        return sorted({int(one.get_attr("RTA_OIF")) for one in routes if one.get_attr("RTA_OIF")})

    def close(self) -> None:
        """Let go of the sockets."""
        self._route.close()
        self._spaces.close()

    def _processes(self) -> Iterator[tuple[str, int]]:
        """UID and process, for all processes of pods. Most are of none and stay so: those are seldom asked again."""
        before, self._looked = self._looked, {}
        for folder in self._proc.iterdir():
            if folder.name.isdigit():
                pid = int(folder.name)
                looks, uid = before.get(pid, (0, ""))
                if looks < _SETTLED or looks % _AGAIN == pid % _AGAIN:  # a runtime moves them once they have begun
                    uid = self._pod(pid)
                self._looked[pid] = (looks + 1, uid)
                if uid:
                    yield uid, pid

    def _pod(self, pid: int) -> str:
        """The UID of the pod that a process belongs to; empty when to none."""
        try:
            return uid_in((self._proc / str(pid) / "cgroup").read_text(encoding="ascii", errors="replace"))
        except OSError:
            return ""

    def _number(self, pid: int, uid: str) -> int:
        """Of the process's network namespace, if the process is the pod's still once that is known."""
        number = self._spaces.number(pid)
        return number if number != NONE and self._pod(pid) == uid else NONE

    def _names(self) -> Mapping[str, tuple[str, str]]:
        """UID -> namespace and name, of the folders NAMESPACE_NAME_UID of the kubelet's logs."""
        with contextlib.suppress(OSError):
            return dict(_named(folder.name for folder in self._logs.iterdir()))
        return {}


def uid_in(cgroup: str) -> str:
    """The UID in the lines of /proc/PID/cgroup, of either driver and version; empty when it is of no pod."""
    found = _UID.search(cgroup)
    return found[1].replace("_", "-") if found else ""


def _named(folders: Iterable[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for folder in folders:
        parts = folder.split("_")
        if len(parts) == 3:
            yield parts[2], (parts[0], parts[1])
