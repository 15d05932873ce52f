"""One shield for all uplinks of a node: entries for sources, kept in one set of maps, met by every link.

Called by `services.agents.cutting`. In: indices of links. Out: a `TableShield` whose programs are attached by tc, ahead
of others, while there is an entry, and beside any shield that a link has of its own. Pinned: entries outlive this
process and end on time without it. It accounts nothing; what it drops is in its entries.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.loom.capture import layouts
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.capture.xdp import attaching, bpf, loading
from loomidi.loom.capture.xdp.kernel import KernelTables, epoch_offset_ns

UPLINK = "lm_uplink_tc"
FOLDER = "loomidi-uplinks"  # under the bpffs
_SIZES = loading.ShieldSettings(
    max_entries=4096, max_watched=1, record_ring=4096, event_ring=4096, accounting=False, watch=None
)


class UplinkShield(TableShield):
    """For one thread."""

    def __init__(self, links: Sequence[int]) -> None:
        """Take over what is pinned, or begin. Raises EnvironmentLacks with what is missing."""
        attaching.mount_bpffs()
        self._pins = pins()
        self._program = -1
        loaded = self._kept() or self._fresh()
        self._memory = KernelTables(loaded)
        super().__init__("uplinks", "tc", self._memory, epoch_offset_ns())
        if self._program >= 0:
            self._memory.control.generation = 1
        self._attach(links)

    def close(self) -> None:
        """Let go of the handles; entries stay and end on time."""
        self._memory.close()

    def clear(self) -> None:
        """Remove everything: programs, maps, pins."""
        for pin in self._pins.glob("link-*"):
            with contextlib.suppress(OSError):
                link = bpf.pinned(str(pin))
                with contextlib.suppress(OSError):  # the interface has gone and took the program with it
                    bpf.unlink(link)
                os.close(link)
        self.close()
        attaching.remove_pins(self._pins)

    @property
    def links(self) -> list[int]:
        """Indices of the links that it is attached to."""
        return sorted(int(pin.name.removeprefix("link-")) for pin in self._pins.glob("link-*"))

    def _kept(self) -> loading.Loaded | None:
        try:
            maps = {name: loading.wrap(bpf.pinned(str(self._pins / name))) for name in layouts.MAPS}
            self._program = -1
            program = bpf.pinned(str(self._pins / "program"))
        except OSError:
            attaching.remove_pins(self._pins)
            return None
        return loading.Loaded(maps, [], program)

    def _fresh(self) -> loading.Loaded:
        loaded = loading.load(UPLINK, _SIZES)
        self._program = loaded.program
        try:
            self._pins.mkdir(mode=0o700)
            for name, fd in loaded.named():
                bpf.pin(fd, str(self._pins / name))
            bpf.pin(loaded.program, str(self._pins / "program"))
        except OSError as error:
            attaching.remove_pins(self._pins)
            raise EnvironmentLacks(f"cannot pin under {self._pins}: {error.strerror}") from error
        return loaded

    def _attach(self, links: Sequence[int]) -> None:
        for ifindex in links:
            pin = self._pins / f"link-{ifindex}"
            if pin.exists() and _alive(pin):
                continue
            pin.unlink(missing_ok=True)
            try:
                link = bpf.link(self._memory.loaded.program, ifindex, bpf.ATTACH_TCX_INGRESS, bpf.BEFORE)
                bpf.pin(link, str(pin))
                os.close(link)
            except OSError as error:
                why = "it takes Linux 6.6 or newer (TCX)" if error.errno in (22, 95) else str(error.strerror)
                raise EnvironmentLacks(f"link {ifindex} takes no program of ours: {why}") from error


def pins() -> Path:
    """Where all of this network namespace is pinned; not there: nothing is."""
    return attaching.BPFFS / f"{FOLDER}{attaching.pins_of('x').name.removeprefix('x')}"


def _alive(pin: Path) -> bool:
    link = bpf.pinned(str(pin))
    try:
        return bpf.link_info(link).ifindex != 0
    finally:
        os.close(link)
