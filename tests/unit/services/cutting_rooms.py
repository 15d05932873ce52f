"""A node in memory: links, pods and cuts without a kernel, so that a crash, a restart and a clock can be played."""

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loomidi.contracts import Refused
from loomidi.ionic.act.receipts import MemoryReceipts
from loomidi.ionic.orders import CUT, KeySealer, Order
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.cuts import Cut, CutState
from loomidi.loom.capture.podlinks import PodLink
from loomidi.loom.capture.twin import TwinShield
from loomidi.services.agents.cutting import Cutter

NOW = 1_800_000_000_000_000_000
SEALER = KeySealer(b"k" * 32)
CART = PodLink("uid-cart", "shop", "cart-0", (11,))
DNS = PodLink("uid-dns", "kube-system", "coredns-1", (12,))


class FakeCuts:
    """As `LinkCuts`; outlives a Cutter, as the kernel does."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock, self.table, self.spared = clock, dict[int, Cut](), list[str]()
        self.puts = self.gone = 0
        self.prepared: list[int] = []

    def put(self, cut: Cut) -> CutState:
        if cut.ifindex == self.gone:
            raise Refused(f"link {cut.ifindex} is not there any more")
        self.puts += 1
        self.table[cut.ifindex] = cut
        return self._state(cut)

    def remove(self, ifindex: int) -> CutState | None:
        cut = self.table.pop(ifindex, None)
        return self._state(cut) if cut else None

    def states(self) -> list[CutState]:
        return [self._state(cut) for cut in self.table.values()]

    def sweep(self) -> list[CutState]:
        over = [one for one in self.states() if not one.live]
        for one in over:
            self.remove(one.cut.ifindex)
        return over

    def prepare(self, links: Iterable[int]) -> list[str]:
        self.prepared = sorted(links)
        return []

    def spare(self, prefixes: Iterable[str]) -> None:
        self.spared = list(prefixes)

    def _state(self, cut: Cut) -> CutState:
        return CutState(cut, cut.expires_ns > self._clock.now_ns(), 0, 0, 0, 0, 0, 0)


class FakePods:
    """As `PodLinks`."""

    def __init__(self) -> None:
        self.pods = {pod.uid: pod for pod in (CART, DNS)}

    def all(self) -> list[PodLink]:
        return list(self.pods.values())

    def of(self, uid: str) -> PodLink | None:
        return self.pods.get(uid)

    def addresses(self) -> list[str]:
        return ["10.0.0.1"]


class Node:
    """What outlives a process, and the Cutter of the process that runs now."""

    def __init__(self, state: Path) -> None:
        self.clock = ManualClock(NOW)
        self.cuts, self.pods, self.receipts = FakeCuts(self.clock), FakePods(), MemoryReceipts(clock=self.clock)
        self.shield = TwinShield()
        self.state = state
        self._plans = itertools.count(1)
        self.start()

    def start(self) -> Cutter:
        """Anew, after a crash too."""
        self.cutter = Cutter(
            *("n1", SEALER, self.cuts, self.pods, self.receipts),
            denies=self.shield,
            state=self.state,
            clock=self.clock,
        )
        return self.cutter

    def order(self, verb: str = CUT, **fields: Any) -> Order:
        now = self.clock.now_ns()
        about = {"pod": CART.uid, "namespace": "shop", "name": "cart-0", "address": "10.1.0.5"} if verb == CUT else {}
        plain = Order(verb, "n1", f"plan-{next(self._plans)}", "signature", now, now + 60 * 10**9, 5)
        return dataclasses.replace(plain, **(about | fields))

    def obey(self, order: Order) -> dict[str, Any]:
        return self.cutter.obey(order.sealed(SEALER))
