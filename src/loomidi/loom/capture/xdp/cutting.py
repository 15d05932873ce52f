"""Pods cut off on their own links: one set of maps for the node, two tc programs on each link that is cut.

Called by `services.agents.cutting`. In: `Cut` records. Out: packets of these links dropped in both directions, and
`CutState`s read back from the kernel. All is pinned, so a cut outlives this process and ends on time without it; the
entry is written before the programs are attached, and is what a successor knows of it. Attaching takes tens of
milliseconds (the kernel waits for packets under way), so links are prepared: then a cut is one write. For one thread.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, Refused, Retryable
from loomidi.loom.capture import layouts, native, verdicts
from loomidi.loom.capture.cuts import Cut, CutState
from loomidi.loom.capture.xdp import attaching, bpf, libbpf
from loomidi.loom.capture.xdp.kernel import epoch_offset_ns
from loomidi.loom.capture.xdp.loading import possible_cpus, wrap

FOLDER = "loomidi-cuts"  # under the bpffs
_OBJECT = "cut.bpf.o"
_SIDES = {"from": ("lm_cut_from_pod", bpf.ATTACH_TCX_INGRESS), "to": ("lm_cut_to_pod", bpf.ATTACH_TCX_EGRESS)}
_NO_ADDRESS = bytes(16)
_ONE = (1).to_bytes(4, "little")


class LinkCuts:
    """The cuts of this network namespace."""

    def __init__(self) -> None:
        """Take over what is pinned, or begin. Raises EnvironmentLacks with what is missing."""
        if os.geteuid() != 0:
            raise EnvironmentLacks("cutting links needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON); run with sudo")
        attaching.mount_bpffs()
        self._pins = pins()
        self._offset_ns = epoch_offset_ns()
        self._maps, self._programs = _loaded(self._pins)
        self._prepared: set[int] = set()
        for link in self._pins.glob("link-*"):
            self._renew(link)

    # -- cuts --------------------------------------------------------------------------------------------------------

    def put(self, cut: Cut) -> CutState:
        """Cut the link off, or renew its cut (counters kept). Raises EnvironmentLacks when the link is not there."""
        entry = self._entry(cut)
        try:
            self._maps[layouts.CUTS].update(_key(cut.ifindex), bytes(entry))
        except OSError as error:
            if error.errno not in (errno.E2BIG, errno.ENOSPC):
                raise
            if self.sweep():
                return self.put(cut)
            raise Retryable("the table of cuts is full of live ones; release some or wait") from error
        try:
            for side in _SIDES:
                self._attach(cut.ifindex, side)
        except OSError as error:
            self.remove(cut.ifindex)
            raise _why(error, cut.ifindex) from error
        found = self.state(cut.ifindex)
        assert found is not None
        return found

    def remove(self, ifindex: int) -> CutState | None:
        """Give the link back; its last state, None when it was not cut."""
        last = self.state(ifindex)
        self._maps[layouts.CUTS].delete(_key(ifindex))
        if ifindex not in self._prepared:
            self._detach(ifindex)
        return last

    def prepare(self, links: Iterable[int]) -> list[str]:
        """Programs on these links and, where nothing is cut, on no others; what could not be prepared, in words."""
        wanted, told = set(links), list[str]()
        for ifindex in wanted - self._prepared:
            try:
                for side in _SIDES:
                    self._attach(ifindex, side)
                self._prepared.add(ifindex)
            except OSError as error:
                told.append(str(_why(error, ifindex)))
        cut = {state.cut.ifindex for state in self.states()}
        pinned = {int(pin.name.split("-")[1]) for pin in self._pins.glob("link-*")}
        for ifindex in pinned - wanted - cut:
            self._detach(ifindex)
        self._prepared &= wanted
        return told

    def state(self, ifindex: int) -> CutState | None:
        """The cut of one link."""
        value = self._maps[layouts.CUTS].lookup(_key(ifindex))
        return None if value is None else self._state(ifindex, value)

    def states(self) -> list[CutState]:
        """All cuts, live and over."""
        return [self._state(_index(key), value) for key, value in self._maps[layouts.CUTS].items()]

    def sweep(self) -> list[CutState]:
        """Remove those whose time is over or whose link has gone; what they were."""
        over = [state for state in self.states() if not state.live or not state.attached]
        for state in over:
            self.remove(state.cut.ifindex)
        return over

    # -- the protected set -------------------------------------------------------------------------------------------

    def spare(self, prefixes: Iterable[str]) -> None:
        """Addresses of the node, and no others, that a pod which is cut off may be reached from and may answer."""
        wanted = {verdicts.prefix_key(verdicts.network_of(prefix)) for prefix in prefixes}
        spared = self._maps[layouts.CUT_SPARED]
        for key in wanted:
            spared.update(key, _ONE)
        for key in set(spared.keys()) - wanted:
            spared.delete(key)

    def spared(self) -> list[str]:
        """As CIDRs."""
        return sorted(verdicts.prefix_text(key) for key in self._maps[layouts.CUT_SPARED].keys())  # noqa: SIM118

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """Reason -> (packets, octets) on links that are cut, summed over CPUs. Every packet is in exactly one."""
        return {reason.name.lower(): self._count(reason) for reason in layouts.CutReason}

    # -- ends --------------------------------------------------------------------------------------------------------

    def clear(self) -> list[CutState]:
        """Remove everything that was ever put, programs, maps and pins; what was cut until now."""
        states, self._prepared = self.states(), set()
        for state in states:
            self.remove(state.cut.ifindex)
        for link in self._pins.glob("link-*"):  # prepared, or of an entry that never was
            _unpin(link)
        self.close()
        attaching.remove_pins(self._pins)
        return states

    def close(self) -> None:
        """Let go of the handles; cuts stay and end on time."""
        for each in self._maps.values():
            each.close()
        for program in self._programs.values():
            os.close(program)
        self._maps, self._programs = {}, {}

    # -- in the kernel -----------------------------------------------------------------------------------------------

    def _entry(self, cut: Cut) -> layouts.Cut:
        own = verdicts.address_of(cut.address) if cut.address else _NO_ADDRESS
        entry = layouts.Cut(
            expires_ns=cut.expires_ns - self._offset_ns,
            token=cut.token,
            own=layouts.Addr.from_buffer_copy(own),
            plan=cut.plan.encode(),
            pod=cut.pod.encode(),
        )
        before = self._maps[layouts.CUTS].lookup(_key(cut.ifindex))
        old = layouts.Cut.from_buffer_copy(before) if before is not None else None
        if old is not None and old.plan == entry.plan:
            for name in ("first_hit_ns", "last_hit_ns", "dropped_from", "dropped_to", "octets", "spared"):
                setattr(entry, name, getattr(old, name))
        return entry

    def _state(self, ifindex: int, value: bytes) -> CutState:
        entry, offset = layouts.Cut.from_buffer_copy(value), self._offset_ns
        own = bytes(entry.own)
        address = verdicts.text_of(own) if own != _NO_ADDRESS else ""
        expires_ns = entry.expires_ns + offset
        return CutState(
            Cut(ifindex, entry.pod.decode(), entry.plan.decode(), entry.token, expires_ns, address),
            live=entry.expires_ns > time.monotonic_ns(),
            first_hit_ns=entry.first_hit_ns + offset if entry.first_hit_ns else 0,
            last_hit_ns=entry.last_hit_ns + offset if entry.last_hit_ns else 0,
            dropped_from=entry.dropped_from,
            dropped_to=entry.dropped_to,
            octets=entry.octets,
            spared=entry.spared,
            attached=all(_holds(self._link(ifindex, side), ifindex) for side in _SIDES),
        )

    def _count(self, reason: int) -> tuple[int, int]:
        raw = self._maps[layouts.CUT_COUNTS].lookup(_key(reason)) or b""
        each = (layouts.Count * possible_cpus()).from_buffer_copy(raw)
        return sum(one.packets for one in each), sum(one.octets for one in each)

    def _link(self, ifindex: int, side: str) -> Path:
        return self._pins / f"link-{ifindex}-{side}"

    def _attach(self, ifindex: int, side: str) -> None:
        """Ahead of every other program: behind Cilium's nothing arrives. Raises OSError."""
        pin = self._link(ifindex, side)
        if _holds(pin, ifindex):
            return
        _unpin(pin)
        program, point = _SIDES[side]
        link = bpf.link(self._programs[program], ifindex, point, bpf.BEFORE)
        try:
            bpf.pin(link, str(pin))
        finally:
            os.close(link)

    def _detach(self, ifindex: int) -> None:
        for side in _SIDES:
            _unpin(self._link(ifindex, side))

    def _renew(self, pin: Path) -> None:
        """The programs of this version in the place of those that a former process attached."""
        with _opened(pin) as link, contextlib.suppress(OSError):  # its link has gone: swept
            bpf.relink(link, self._programs[_SIDES[pin.name.rsplit("-", 1)[1]][0]])


def pins() -> Path:
    """Where all of this network namespace is pinned; not there: nothing is."""
    name = attaching.pins_of("cuts").name.removeprefix("cuts")
    return attaching.BPFFS / f"{FOLDER}{name}"


def _loaded(folder: Path) -> tuple[dict[str, bpf.Map], dict[str, int]]:
    """The maps that are pinned, if they are of this version, else new ones; and the programs on them."""
    kept = _kept(folder)
    with libbpf.Object(str(native.FOLDER / _OBJECT)) as opened:
        opened.reuse(kept)
        opened.load()
        maps = {name: wrap(fd) for name, fd in opened.maps(layouts.CUT_MAPS).items()}
        programs = {name: opened.program(name) for name, _ in _SIDES.values()}
    for fd in kept.values():
        os.close(fd)
    if not kept:
        _pin(folder, maps)
    return maps, programs


def _kept(folder: Path) -> dict[str, int]:
    try:
        kept = {name: bpf.pinned(str(folder / name)) for name in layouts.CUT_MAPS}
    except OSError:
        kept = {}  # none, or a crash in between
    sized = [len(bytes(layouts.Cut())), 4, len(bytes(layouts.Count()))]
    if kept and [bpf.map_info(kept[name])[2] for name in layouts.CUT_MAPS] == sized:
        return kept
    for fd in kept.values():
        os.close(fd)
    for link in folder.glob("link-*"):  # of another version: what it cut cannot be read
        _unpin(link)
    attaching.remove_pins(folder)
    return {}


def _pin(folder: Path, maps: Mapping[str, bpf.Map]) -> None:
    try:
        folder.mkdir(mode=0o700)
        for name, each in maps.items():
            bpf.pin(each.fd, str(folder / name))
    except OSError as error:
        raise EnvironmentLacks(f"cannot pin under {folder}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(pin: Path) -> Iterator[int]:
    fd = bpf.pinned(str(pin))
    try:
        yield fd
    finally:
        os.close(fd)


def _holds(pin: Path, ifindex: int) -> bool:
    """Whether the pinned link is on this interface still."""
    if not pin.exists():
        return False
    with _opened(pin) as link:
        return bpf.link_info(link).ifindex == ifindex


def _unpin(pin: Path) -> None:
    """Off the interface and away; also when one of them has gone."""
    if not pin.exists():
        return
    with _opened(pin) as link, contextlib.suppress(OSError):
        bpf.unlink(link)
    pin.unlink(missing_ok=True)


def _why(error: OSError, ifindex: int) -> Exception:
    if error.errno in (errno.ENODEV, errno.ENOENT):
        return Refused(f"link {ifindex} is not there any more: its pod has ended")
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
        return EnvironmentLacks("this kernel has no TCX: cutting pods on their links takes Linux 6.6 or newer")
    return EnvironmentLacks(f"link {ifindex} cannot be cut: {error.strerror}")


def _key(number: int) -> bytes:
    return int(number).to_bytes(4, "little")


def _index(key: bytes) -> int:
    return int.from_bytes(key, "little")
