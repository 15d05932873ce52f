"""Attach, pin, reopen, detach: the rungs of the kernel.

Called by `capture` and `probe`. In: an interface of this network namespace, a mode, settings. Out: `Attached`. Rungs,
in order: XDP native, XDP generic, tc (TCX link, else clsact). Leaves maps to `loading` and the Shield to `kernel`.
"""

import ctypes
import dataclasses
import errno
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from loomidi.contracts.errors import Conflict, EnvironmentLacks, InputError, UsageError
from loomidi.loom.capture import layouts
from loomidi.loom.capture.xdp import bpf, libbpf
from loomidi.loom.capture.xdp.loading import TC, XDP, Loaded, ShieldSettings, load, wrap

BPFFS = Path("/sys/fs/bpf")
NATIVE, GENERIC, TRAFFIC = "xdp-native", "xdp-generic", "tc"
MODES = {"auto": (NATIVE, GENERIC, TRAFFIC), "native": (NATIVE,), "generic": (GENERIC,), "tc": (TRAFFIC,)}
_BPFFS_MAGIC = 0xCAFE4A11
_OURS = "lm_shield_"
_LINK_GONE_S = 0.2  # the kernel takes an unpinned link off a little later


@dataclasses.dataclass
class Attached:
    """A program on an interface, and the descriptors that keep it. Pinned: it outlives them."""

    name: str
    ifindex: int
    rung: str
    loaded: Loaded
    link: int = -1  # -1: clsact filter, which no descriptor keeps
    tried: tuple[tuple[str, str], ...] = ()  # (rung, why not) of the rungs above
    pinned: bool = True

    def check(self) -> None:
        """Raises EnvironmentLacks when the interface has gone, Conflict when somebody detached us."""
        if self.link >= 0:
            if bpf.link_info(self.link).ifindex == self.ifindex:
                return
            raise EnvironmentLacks(f"{self.name} has gone, or was detached by force; attach again when it is back")
        if index_of(self.name) != self.ifindex:
            raise EnvironmentLacks(f"{self.name} is another interface than before; attach again")

    def close(self) -> None:
        """Let go: without a pin the program leaves the interface."""
        if self.link >= 0:
            os.close(self.link)
            self.link = -1
        elif not self.pinned:
            clsact_detach(self.ifindex)
            self.pinned = True  # once
        self.loaded.close()


def index_of(interface: str) -> int:
    """Raises InputError when this network namespace has no such interface."""
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise InputError(f"no interface {interface} here; `ip link` lists them") from error


def pins_of(interface: str) -> Path:
    """Where the state of a shield is pinned; names are per network namespace."""
    here, first = Path("/proc/thread-self/ns/net").stat().st_ino, _first_namespace()
    return BPFFS / "loomidi" / (interface if here == first else f"{interface}@{here}")


def pinned_here() -> list[str]:
    """The interfaces of this network namespace that have pins."""
    folder = BPFFS / "loomidi"
    names = {path.name.partition("@")[0] for path in folder.iterdir()} if folder.is_dir() else set()
    return sorted(name for name in names if pins_of(name).is_dir())


def _first_namespace() -> int:
    try:
        return Path("/proc/1/ns/net").stat().st_ino
    except OSError:
        return 0


def mount_bpffs() -> None:
    """Raises EnvironmentLacks with the command when it is absent and cannot be mounted."""
    if _is_bpffs(BPFFS):
        return
    command = ["mount", "-t", "bpf", "bpf", str(BPFFS)]
    if not BPFFS.is_dir() or subprocess.run(command, capture_output=True, check=False).returncode:
        raise EnvironmentLacks(f"no bpffs: run `{' '.join(command)}` as root")


def _is_bpffs(path: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statfs(str(path).encode(), buffer):
        return False
    return int.from_bytes(buffer.raw[:8], "little") & 0xFFFFFFFF == _BPFFS_MAGIC


def attach(interface: str, mode: str, settings: ShieldSettings, *, pin: bool) -> Attached:
    """Take the best rung that works. Raises Conflict, EnvironmentLacks, InputError, UsageError."""
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}; use {', '.join(MODES)}")
    ifindex = index_of(interface)
    if os.geteuid() != 0:
        raise EnvironmentLacks("attaching needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON); run with sudo")
    if pin:
        mount_bpffs()
    _refuse_second(interface, ifindex)
    attached = _climb(interface, ifindex, mode, settings)
    attached.pinned = pin
    if pin:
        _pin(attached)
    return attached


def _refuse_second(interface: str, ifindex: int) -> None:
    until = time.monotonic() + _LINK_GONE_S
    while _is_ours(ifindex):
        if time.monotonic() > until:
            raise Conflict(f"{interface} has a shield already; use it, or `loomidi shield detach {interface}` first")
        time.sleep(_LINK_GONE_S / 20)
    pins = pins_of(interface)
    if pins.exists():
        remove_pins(pins)  # left by a crash: nothing on the interface belongs to them


def _is_ours(ifindex: int) -> bool:
    there = (xdp_program(ifindex), *tc_programs(ifindex))
    return any(bpf.program_name(program).startswith(_OURS) for program in there if program)


def _climb(interface: str, ifindex: int, mode: str, settings: ShieldSettings) -> Attached:
    tried: list[tuple[str, str]] = []
    loaded: dict[str, Loaded] = {}
    problem: Exception | None = None
    for rung in MODES[mode]:
        program = TC if rung == TRAFFIC else XDP
        try:
            if program not in loaded:
                loaded[program] = load(program, settings)
            link = _RUNGS[rung](loaded[program].program, ifindex)
        except (OSError, EnvironmentLacks) as error:
            tried.append((rung, _why(error)))
            problem = error
            continue
        for name, other in loaded.items():
            if name != program:
                other.close()
        return Attached(interface, ifindex, rung, loaded[program], link, tuple(tried))
    for each in loaded.values():
        each.close()
    raise _verdict(interface, ifindex, tried, problem)


def _verdict(interface: str, ifindex: int, tried: list[tuple[str, str]], problem: Exception | None) -> Exception:
    story = "; ".join(f"{rung}: {why}" for rung, why in tried)
    if isinstance(problem, OSError) and problem.errno in (errno.EBUSY, errno.EEXIST):
        owner = bpf.program_name(xdp_program(ifindex)) or "another program"
        error: Exception = Conflict(f"{interface} is taken by {owner}: detach it, or use --mode tc ({story})")
    else:
        error = EnvironmentLacks(f"no rung holds on {interface}: {story}")
    error.__cause__ = problem
    return error


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EEXIST):
        return "taken by another program"
    if isinstance(error, OSError) and error.errno == errno.EOPNOTSUPP:
        return "the driver has no XDP"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _xdp(flag: int) -> Callable[[int, int], int]:
    return lambda program, ifindex: bpf.link(program, ifindex, bpf.ATTACH_XDP, flag)


def _tc(program: int, ifindex: int) -> int:
    """TCX from Linux 6.6 on, ahead of others (behind Cilium's program nothing arrives); before, a clsact filter."""
    try:
        return bpf.link(program, ifindex, bpf.ATTACH_TCX_INGRESS, bpf.BEFORE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    clsact_attach(program, ifindex)
    return -1


_RUNGS: dict[str, Callable[[int, int], int]] = {
    NATIVE: _xdp(bpf.XDP_FLAGS_DRV),
    GENERIC: _xdp(bpf.XDP_FLAGS_SKB),
    TRAFFIC: _tc,
}


class _Hook(ctypes.Structure):
    """struct bpf_tc_hook."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("ifindex", ctypes.c_int),
        ("point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
    ]


class _Options(ctypes.Structure):
    """struct bpf_tc_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("prog_fd", ctypes.c_int),
        *((name, ctypes.c_uint32) for name in ("flags", "prog_id", "handle", "priority")),
    ]


_HANDLE = 0x4C4D  # of our filter: detach removes no other
_INGRESS = 1


def _hook(ifindex: int) -> _Hook:
    return _Hook(ctypes.sizeof(_Hook), ifindex, _INGRESS, 0)


def clsact_attach(program: int, ifindex: int) -> None:
    """A direct-action filter on clsact ingress. Raises OSError."""
    lib, hook = libbpf.library(), _hook(ifindex)
    status = lib.bpf_tc_hook_create(ctypes.byref(hook))
    if status in (0, -errno.EEXIST):
        options = _Options(ctypes.sizeof(_Options), program, 0, 0, _HANDLE, 1)
        status = lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(options))
    if status:
        raise OSError(-status, os.strerror(-status))


def clsact_detach(ifindex: int) -> None:
    """Remove our filter, leave the qdisc."""
    options = _Options(ctypes.sizeof(_Options), 0, 0, 0, _HANDLE, 1)
    libbpf.library().bpf_tc_detach(ctypes.byref(_hook(ifindex)), ctypes.byref(options))


def xdp_program(ifindex: int) -> int:
    """Id of the XDP program on an interface; 0: none."""
    identity = ctypes.c_uint32()
    libbpf.library().bpf_xdp_query_id(ifindex, 0, ctypes.byref(identity))
    return identity.value


def tc_programs(ifindex: int) -> list[int]:
    """Ids of the tc ingress programs: TCX and our clsact filter."""
    try:
        found = bpf.attached(ifindex, bpf.ATTACH_TCX_INGRESS)
    except OSError:
        found = []
    options = _Options(ctypes.sizeof(_Options), 0, 0, 0, _HANDLE, 1)
    if not libbpf.library().bpf_tc_query(ctypes.byref(_hook(ifindex)), ctypes.byref(options)):
        found.append(options.prog_id)
    return found


def _pin(attached: Attached) -> None:
    """All maps first, the link last: a directory without a link is a crash in between, and is swept."""
    pins = pins_of(attached.name)
    try:
        pins.mkdir(parents=True, mode=0o700)
        for name, fd in attached.loaded.named():
            bpf.pin(fd, str(pins / name))
        (pins / f"rung-{attached.rung}").mkdir()
        if attached.link >= 0:
            bpf.pin(attached.link, str(pins / "link"))
    except OSError as error:
        remove_pins(pins)
        attached.close()
        raise EnvironmentLacks(f"cannot pin under {pins}: {error.strerror}") from error


def reopen(interface: str) -> Attached:
    """The shield pinned for an interface. Raises EnvironmentLacks when there is none or its interface has gone."""
    pins = pins_of(interface)
    if not (pins / layouts.CONTROL).exists():
        raise EnvironmentLacks(f"no shield on {interface}; `loomidi shield attach {interface}` first")
    ifindex = index_of(interface)
    maps = {name: wrap(bpf.pinned(str(pins / name))) for name in layouts.MAPS}
    slots = sorted(int(path.name.rsplit("_", 1)[1]) for path in pins.glob(f"{layouts.FLOWS}_*"))
    tables = [wrap(bpf.pinned(str(pins / f"{layouts.FLOWS}_{slot}"))) for slot in slots]
    rung = next(path.name.removeprefix("rung-") for path in pins.glob("rung-*"))
    link = bpf.pinned(str(pins / "link")) if (pins / "link").exists() else -1
    attached = Attached(interface, ifindex, rung, Loaded(maps, tables), link)
    try:
        attached.check()
    except EnvironmentLacks:
        attached.close()
        raise
    return attached


def detach(interface: str) -> bool:
    """Take our program off and remove its pins, also what a crash left. False when there was nothing."""
    pins = pins_of(interface)
    found = pins.exists()
    if (pins / "link").exists():
        link = bpf.pinned(str(pins / "link"))
        try:
            bpf.unlink(link)
        except OSError:
            pass  # the interface has gone and took the program with it
        finally:
            os.close(link)
    try:
        ifindex = socket.if_nametoindex(interface)
    except OSError:
        ifindex = 0
    if ifindex and _is_ours(ifindex):
        clsact_detach(ifindex)
        found = True
    remove_pins(pins)
    return found


def remove_pins(pins: Path) -> None:
    """Unpin everything under a directory."""
    shutil.rmtree(pins, ignore_errors=True)
