"""Orders of the operator over HTTP: a small table of routes in front of the one thread that carries them out.

Called by `serving`. In: settings, an event that says when to end. Out: it takes orders until then, follows the
pods of the node, and ends: nothing of it is left in the kernel when nothing is in force. Whoever calls is admitted by
the door (TLS with a client certificate or a token, else this machine alone); `ionic.orders` says which orders count.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from loomidi.contracts.errors import EnvironmentLacks, LoomidiError, UsageError
from loomidi.ionic.act.receipts import FILE_NAME, SqliteReceipts
from loomidi.ionic.approvals import KEY_OCTETS
from loomidi.ionic.errors import OrderRefused
from loomidi.ionic.orders import KeySealer, Sealer
from loomidi.kit import logging
from loomidi.kit.waiting import told_within
from loomidi.services.agents.cutting import Cutter
from loomidi.services.agents.listening import Listening
from loomidi.services.http import serving
from loomidi.services.http.authority import Authority, Gate
from loomidi.services.http.limits import BodyLimits, Budget, whole_body
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.http.routing import Application, Call, Route, application
from loomidi.services.settings.cutting import CutSettings
from loomidi.services.shared.probes import Sample

PREFIX = "/agent-api"
_LIMITS = BodyLimits(body_octets=16 * 1024, memory_octets=1 << 20)
_log = logging.logger("services.cutting")
Result = TypeVar("Result")


class CuttingApi:
    """One per node."""

    def __init__(self, node: str, state: Path, settings: CutSettings) -> None:
        """Raises UsageError for a door that would stand open, EnvironmentLacks without a usable key."""
        self._node, self._state, self._settings = node, state, settings
        self._sealer, self._gate = sealer_of(settings.key), Gate(settings.door)
        self._thread = ThreadPoolExecutor(1, "loomidi-cutting")
        self._budget = Budget(_LIMITS.memory_octets)
        self._cutter: Cutter | None = None
        self._listening = Listening()
        self._opened: list[Any] = []
        self._orders: Counter[str] = Counter()
        self._packets: dict[str, int] = {}
        self.port = 0

    async def run(self, ending: asyncio.Event, *, listening: Callable[[int], object] = lambda _port: None) -> None:
        """Until `ending`. Raises EnvironmentLacks when this node cannot be cut on."""
        await self._aside(self._open)
        following = asyncio.create_task(self._follow(ending), name="cutting follows the pods")

        def up(port: int) -> None:
            self.port = port
            listening(port)

        try:
            await serving.serve(self.application(), self._settings.door, ending, listening=up)
        finally:
            self.port = 0
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._aside(self._close)
            self._thread.shutdown()

    def application(self) -> Application:
        """As ASGI."""
        return application(PREFIX, self.routes(), self._gate, self._told)

    def routes(self) -> tuple[Route, ...]:
        """Every path and who may call it."""
        return (
            Route("POST", "/orders", Authority.RULER, self._order),
            Route("GET", "/cuts", Authority.READER, self._cuts),
            Route("GET", "/flows", Authority.READER, self._flows),
            Route("GET", "/receipts", Authority.READER, self._receipts),
            Route("GET", "/pods", Authority.READER, self._pods),
        )

    def ready(self) -> Sequence[str]:
        """Why it is not; empty when it is."""
        return [] if self.port else ["cuts: no orders are taken yet"]

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        about = "Orders by what became of them: done, or the reason why not"
        for outcome, count in self._orders.items():
            yield Sample("loomidi_agent_orders_total", "counter", about, count, {"outcome": outcome})
        for reason, packets in self._packets.items():
            about = "Packets on links of pods that are cut off, by what became of them"
            yield Sample("loomidi_agent_cut_packets_total", "counter", about, packets, {"reason": reason})
        cutter = self._cutter
        yield Sample("loomidi_agent_plans", "gauge", "Plans in force", len(cutter.plans()) if cutter else 0)
        yield Sample("loomidi_agent_pods", "gauge", "Pods with links here", len(cutter.seen) if cutter else 0)

    # -- routes ------------------------------------------------------------------------------------------------------

    async def _order(self, call: Call) -> Answer:
        async with whole_body(call.receive, call.headers, _LIMITS, self._budget, call.took) as body:
            try:
                document = json.loads(body)
            except ValueError as error:
                self._orders["malformed"] += 1
                raise Problem("malformed", f"the body is no JSON ({error}); send an order") from error
        try:
            answer = await self._aside(lambda: self._at_work().obey(document))
        except OrderRefused as error:
            self._orders[error.reason] += 1
            _log.warning("order refused", reason=error.reason, why=str(error))
            raise Problem("forbidden", str(error), order=error.reason) from error
        except LoomidiError as error:
            self._orders["failed"] += 1
            raise Problem("away", str(error)) from error
        self._orders["done"] += 1
        return _json(answer)

    async def _cuts(self, call: Call) -> Answer:
        plan = call.parameters(["plan"]).get("plan", "")

        def told() -> dict[str, Any]:
            cutter = self._at_work()
            plans = {one: cutter.told(one) for one in cutter.plans() if plan in ("", one)}
            return {"node": self._node, "plans": plans, "known": bool(plan and cutter.receipts(plan))}

        return _json(await self._aside(told))

    async def _flows(self, call: Call) -> Answer:
        asked = call.parameters(["pod", "peers"])
        if not asked.get("pod"):
            raise Problem("malformed", "name a pod by its UID, and peers by address or CIDR: /flows?pod=UID&peers=A,B")
        peers = [one for one in asked.get("peers", "").split(",") if one]

        def heard() -> dict[str, Any]:
            cutter = self._at_work()
            pod, cut = cutter.pod(asked["pod"])
            return {"node": self._node, **self._listening.told(pod, peers, cutter.own(), cut=cut)}

        try:
            return _json(await self._aside(heard))
        except UsageError as error:
            raise Problem("malformed", str(error)) from error
        except (LoomidiError, OSError) as error:  # the link may go in the middle
            raise Problem("away", f"pod {asked['pod'][:64]} cannot be listened to: {error}") from error

    async def _receipts(self, call: Call) -> Answer:
        plan = call.parameters(["plan"]).get("plan", "")
        if not plan:
            raise Problem("malformed", "name a plan: /receipts?plan=ID")
        found = await self._aside(lambda: [one.as_dict() for one in self._at_work().receipts(plan)])
        return _json({"node": self._node, "receipts": found})

    async def _pods(self, call: Call) -> Answer:
        call.parameters([])
        names = [
            {"uid": pod.uid, "namespace": pod.namespace, "name": pod.name, "links": pod.links}
            for pod in self._at_work().seen
        ]
        return _json({"node": self._node, "pods": names})

    def _told(self, path: str, answer: Answer, _call: Call, seconds: float) -> None:
        _log.debug("request", path=path, status=answer.status, reason=answer.reason, seconds=seconds)

    # -- in the one thread -------------------------------------------------------------------------------------------

    def _at_work(self) -> Cutter:
        if self._cutter is None:
            raise Problem("away", "the agent is not open yet; ask again")
        return self._cutter

    def _open(self) -> None:
        from loomidi.loom.capture.podlinks import PodLinks
        from loomidi.loom.capture.xdp.cutting import LinkCuts
        from loomidi.loom.capture.xdp.uplinks import UplinkShield

        self._state.mkdir(parents=True, exist_ok=True)
        cuts, pods = LinkCuts(), PodLinks(self._settings.logs)
        receipts = SqliteReceipts(self._state / FILE_NAME)
        denies = UplinkShield(uplinks_of(self._settings, pods))
        for prefix in (*pods.addresses(), *self._settings.protect):
            denies.allow(prefix)
        self._opened = [cuts, denies, pods, receipts]
        cutter = Cutter(
            self._node, self._sealer, cuts, pods, receipts, denies=denies, state=self._state, settings=self._settings
        )
        cutter.follow()
        self._cutter = cutter

    def _close(self) -> None:
        """What is in force stays, and ends on time; where nothing is, nothing is left in the kernel."""
        self._listening.close()
        if self._cutter is None:
            return
        cuts, denies, *others = self._opened
        for each in (cuts, denies):
            if self._cutter.plans():
                each.close()
            else:
                each.clear()
        for each in others:
            each.close()
        self._cutter = None

    def _turn(self) -> None:
        cutter = self._at_work()
        cutter.follow()
        self._listening.turn()
        self._packets = {reason: packets for reason, (packets, _) in self._opened[0].counters().items()}

    async def _follow(self, ending: asyncio.Event) -> None:
        while not await told_within(ending, self._settings.follow_s):
            try:
                await self._aside(self._turn)
            except (LoomidiError, OSError) as error:
                _log.error("the pods' links could not be followed", problem=str(error))

    async def _aside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def uplinks_of(settings: CutSettings, pods: Any) -> list[int]:
    """Indices of the links at which sources are denied."""
    import socket

    if not settings.uplinks:
        return list(pods.uplinks())
    try:
        return [socket.if_nametoindex(name) for name in settings.uplinks]
    except OSError as error:
        raise EnvironmentLacks(
            f"uplinks {', '.join(settings.uplinks)}: {error.strerror}; `ip link` lists them"
        ) from error


def sealer_of(file: Path | None) -> Sealer:
    """By the key in a file. Raises EnvironmentLacks."""
    if file is None:
        raise EnvironmentLacks("orders need a key; give --orders-key FILE, the same to operator and agents")
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise EnvironmentLacks(f"{file}: {error.strerror}; name a file with the key of orders") from error
    if len(key) < KEY_OCTETS:
        hint = f"give at least {KEY_OCTETS}, such as `openssl rand -hex 32`"
        raise EnvironmentLacks(f"{file} has {len(key)} octets; {hint}")
    return KeySealer(key)


def _json(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode())
