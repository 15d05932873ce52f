"""What this machine can do, found out by doing it: each rung is attached for real and taken off again.

Called by `loomidi doctor` and the demo. In: an interface, or none (then a veth pair in a network namespace of its
own, which leaves no trace). Out: `Probe`. Rungs, best first: XDP native, XDP generic, tc, AF_PACKET, captures only.
"""

import ctypes
import dataclasses
import os
import socket
import threading

from loomidi.contracts.errors import Conflict, EnvironmentLacks, LoomidiError
from loomidi.loom.capture.xdp import attaching, libbpf
from loomidi.loom.capture.xdp.loading import ShieldSettings

_CLONE_NEWNET = 0x40000000
_TINY = ShieldSettings(max_flows=1, max_entries=64, max_watched=64, record_ring=4096, event_ring=4096)
_MODES = ((attaching.NATIVE, "native"), (attaching.GENERIC, "generic"), (attaching.TRAFFIC, "tc"))


@dataclasses.dataclass(frozen=True, slots=True)
class Rung:
    """One way to meet packets."""

    name: str  # xdp-native, xdp-generic, tc, af-packet, pcap
    ok: bool
    why: str  # what was seen; where it does not work, why
    mend: str = ""  # what to do then; empty when there is nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """The rungs, best first."""

    interface: str  # empty: a veth pair made for the purpose
    rungs: tuple[Rung, ...]

    @property
    def best(self) -> Rung:
        """The first that works; the last one always does."""
        return next(rung for rung in self.rungs if rung.ok)

    @property
    def shields(self) -> bool:
        """Whether packets can be dropped at all."""
        return self.best.name in {name for name, _ in _MODES}


def probe(interface: str | None = None) -> Probe:
    """Try every rung. On an interface in use native XDP may reset the link for a moment, as drivers do."""
    kernel = [_attempt(interface, name, mode) for name, mode in _MODES] if interface else _on_own_veth()
    captures = Rung("pcap", True, "captures are read by the library, without privileges")
    return Probe(interface or "", (*kernel, _af_packet(interface), captures))


def _failed(name: str, why: str) -> Rung:
    if os.geteuid() != 0:
        return Rung(name, False, why, "run as root")
    return Rung(name, False, why, "apt-get install libbpf1" if "libbpf" in why else "")


def _attempt(interface: str, name: str, mode: str) -> Rung:
    try:
        attaching.attach(interface, mode, _TINY, pin=False).close()
    except Conflict as error:
        return Rung(name, False, f"in use: {error}", "detach what is there, or use another rung")
    except LoomidiError as error:
        words = str(error).removeprefix(f"no rung holds on {interface}: ").removeprefix(f"{name}: ")
        return _failed(name, words)
    return Rung(name, True, f"loaded and attached to {interface}")


def _af_packet(interface: str | None) -> Rung:
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            if interface:
                sock.bind((interface, 0))
    except OSError as error:
        return Rung("af-packet", False, str(error.strerror), "run as root, or give CAP_NET_RAW")
    return Rung("af-packet", True, "a packet socket opens: metering works, dropping does not")


def _on_own_veth() -> list[Rung]:
    """A network namespace belongs to a thread: when the thread ends, it and the veth pair are gone."""
    found: list[Rung] = []
    thread = threading.Thread(target=_in_own_namespace, args=(found,), name="probe")
    thread.start()
    thread.join()
    return found


def _in_own_namespace(found: list[Rung]) -> None:
    try:
        libbpf.library()
        _make_veth("lmprobe0", "lmprobe1")
    except EnvironmentLacks as error:
        found.extend(_failed(name, str(error)) for name, _ in _MODES)
        return
    found.extend(_attempt("lmprobe0", name, mode) for name, mode in _MODES)


def _make_veth(name: str, peer: str) -> None:
    """Raises EnvironmentLacks when this process may not, or the kernel has no veth."""
    if os.geteuid() != 0:
        raise EnvironmentLacks("needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON); run with sudo")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise EnvironmentLacks(f"no network namespace of its own: {os.strerror(ctypes.get_errno())}")
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as route:
            route.link("add", ifname=name, kind="veth", peer={"ifname": peer})
            for each in (name, peer):
                route.link("set", index=route.link_lookup(ifname=each)[0], state="up")
    except (NetlinkError, OSError) as error:
        raise EnvironmentLacks(f"no veth pair to probe with: {error}") from error
