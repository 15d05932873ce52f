"""Orders of the operator carried out on this node: pods cut off on their links, sources denied on the uplinks.

Called by `cutting_api`, for each order and every second. In: sealed orders. Out: entries in the kernel, receipts. The
entry in the kernel is the record: it is written first, holds plan, pod, token and end, and is read back and receipted
after a crash. Which links a pod has is asked of the kernel at that moment, by the pod's UID, so no address that has
another owner since, and no API server that is away, leads to a cut on another pod. For one thread.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from loomidi.contracts import EnvironmentLacks, LoomidiError, Match, Receipt, Refused, Step
from loomidi.contracts.ports import Deny, DenyState, ReceiptStore
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import OrderRefused
from loomidi.ionic.orders import CUT, FRESH_S, RELEASE, Order, Sealer, admit, read_order
from loomidi.kit import logging
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.capture.cuts import Cut, CutState
from loomidi.loom.capture.podlinks import PodLink
from loomidi.services.settings.cutting import CutSettings

OVER = (Step.UNDONE, Step.EXPIRED)
MOST_SPARED = 64  # addresses told in an answer
_log = logging.logger("services.cutting")


class Cuts(Protocol):
    """What is asked of `loom.capture.xdp.cutting.LinkCuts`."""

    def put(self, cut: Cut) -> CutState:
        """Cut a link off."""

    def remove(self, ifindex: int) -> CutState | None:
        """Give it back."""

    def states(self) -> list[CutState]:
        """All cuts."""

    def sweep(self) -> list[CutState]:
        """Remove those that are over."""

    def prepare(self, links: Iterable[int]) -> list[str]:
        """Programs on these links before anything is cut there."""

    def spare(self, prefixes: Iterable[str]) -> None:
        """The node's own addresses."""


class Pods(Protocol):
    """What is asked of `loom.capture.podlinks.PodLinks`."""

    def all(self) -> list[PodLink]:
        """Every pod here."""

    def of(self, uid: str) -> PodLink | None:
        """One of them."""

    def addresses(self) -> list[str]:
        """The node's own."""


class Denies(Protocol):
    """What is asked of `loom.capture.xdp.uplinks.UplinkShield`."""

    def deny(self, deny: Deny) -> None:
        """Write one entry."""

    def entry(self, match: Match) -> DenyState | None:
        """Read one back."""

    def remove(self, match: Match) -> bool:
        """Remove one."""

    def sweep(self) -> int:
        """Remove those that are over."""


class Cutter:
    """One per node and state folder."""

    def __init__(
        self,
        node: str,
        sealer: Sealer,
        cuts: Cuts,
        pods: Pods,
        receipts: ReceiptStore,
        *,
        denies: Denies | None = None,
        state: Path,
        settings: CutSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`state`: folder for the newest token. Takes up what a former run has left."""
        self.node, self.settings = node, settings or CutSettings()
        self._sealer, self._cuts, self._pods, self._denies = sealer, cuts, pods, denies
        self._receipts, self._clock = receipts, clock or SystemClock()
        self._tokens = state / "token.json"
        self._token = max([_token(self._tokens), *(one.cut.token for one in cuts.states())])
        self._held: dict[str, Order] = {}
        self._released: dict[int, int] = {}  # rule of a plan released before it was begun -> until when it stays so
        self.seen: list[PodLink] = []
        self._recover()

    # -- orders ------------------------------------------------------------------------------------------------------

    def obey(self, document: Any) -> dict[str, Any]:
        """Carry an order out; its receipt with what was before and is now. Steps, in this order:

        1 the order is genuine, ours and timely   2 its token is kept, so that no older one counts after a crash
        3 done before: the same answer   4 the effect   5 the receipt

        Raises OrderRefused, and what the kernel says. An order that is refused changes nothing.
        """
        # 1 genuine
        order = admit(document, self._sealer, node=self.node, token=self._token, now_ns=self._clock.now_ns())
        # 2 the token
        self._keep(order.token)
        # 3 done before
        if order.verb == RELEASE:
            return self._release(order)
        done = list(self._receipts.of(order.plan_id))
        over = next((one for one in reversed(done) if one.step in OVER), None)
        if over is not None or self._released.get(rule_id(order.plan_id), 0) > self._clock.now_ns():
            raise OrderRefused("released", f"{order.plan_id} was released here; what is wanted again takes a new plan")
        # 4 the effect
        held, before = self._held.get(order.plan_id), self.told(order.plan_id)
        if held is not None and (held.pod, held.source) != (order.pod, order.source):
            raise OrderRefused("held", f"{order.plan_id} is in force for {held.pod or held.source} here")
        after = self._cut(order) if order.verb == CUT else self._deny(order)
        # 5 the receipt
        self._held[order.plan_id] = order
        same = held is not None and held.until_ns == order.until_ns
        receipt = done[-1] if same and done else self._note(order, Step.APPLIED, before, after)
        answer = self._answer(receipt, before, after)
        return answer | {"spares": self.spared()[:MOST_SPARED]} if order.verb == CUT else answer

    def spared(self) -> list[str]:
        """Who on this node may reach a pod that is cut, and be answered over TCP: `cut.h`, step 3."""
        return [*self._pods.addresses(), *self.settings.spare]

    def told(self, plan_id: str) -> list[dict[str, Any]]:
        """What is in force for a plan, read back from the kernel."""
        cuts = [_cut_told(one) for one in self._cuts.states() if one.cut.plan == plan_id]
        order = self._held.get(plan_id)
        denied = self._denies.entry(Match(order.source)) if order and order.source and self._denies else None
        if denied is not None and (over := self._over(plan_id, denied)) is not None:
            cuts.append(_deny_told(denied) | over)
        return cuts

    def pod(self, uid: str) -> tuple[PodLink, bool]:
        """A pod of this node, and whether each of its links is cut. Raises Refused when it is not here."""
        pod = self._pods.of(uid)
        if pod is None:
            raise Refused(f"no pod {uid} with a network of its own is on {self.node}; ask the node that it runs on")
        cut = {one.cut.ifindex for one in self._cuts.states() if one.live and one.attached}
        return pod, set(pod.links) <= cut

    def own(self) -> list[str]:
        """Addresses over which this node's own processes reach a pod."""
        return [*self._pods.addresses(), *(one.partition("/")[0] for one in self.settings.spare)]

    def plans(self) -> list[str]:
        """What is in force here."""
        return list(self._held)

    def receipts(self, plan_id: str) -> list[Receipt]:
        """Of one plan, oldest first."""
        return list(self._receipts.of(plan_id))

    # -- every second ------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Spare the node's addresses, find the pods' links, cut new links of pods that are cut, end what is over."""
        self._cuts.spare(self.spared())
        self.seen = self._pods.all()
        if self.settings.prepare:
            for problem in self._cuts.prepare(link for pod in self.seen for link in pod.links):
                _log.warning("a pod's link is not prepared", problem=problem)
        linked = {pod.uid: pod.links for pod in self.seen}
        ours = {(one.cut.plan, one.cut.ifindex) for one in self._cuts.states() if one.live and one.attached}
        now_ns = self._clock.now_ns()
        for order in [one for one in self._held.values() if one.verb == CUT and one.until_ns > now_ns]:
            for link in linked.get(order.pod, ()):
                if (order.plan_id, link) not in ours:
                    self._cuts.put(_cut_of(order, link))
                    _log.info("a pod that is cut off has another link, cut too", plan=order.plan_id, link=link)
        self._end(now_ns)
        self._restore(now_ns)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _cut(self, order: Order) -> list[dict[str, Any]]:
        """Steps, in this order: 1 the pod is here, by UID   2 it is the one that is named   3 it may be cut   4 cut."""
        # 1 here
        pod = self._pods.of(order.pod)
        if pod is None:
            raise OrderRefused("no-pod", f"no pod {order.pod} with a network of its own is on {self.node}")
        # 2 the one that is named
        if pod.name and (pod.namespace, pod.name) != (order.namespace, order.name):
            raise OrderRefused(
                "other-pod", f"{order.pod} is {pod.namespace}/{pod.name}, not {order.namespace}/{order.name}"
            )
        # 3 may be cut
        if {pod.namespace, order.namespace} & set(self.settings.protected_namespaces):
            raise OrderRefused("protected", f"namespace {order.namespace} is protected; nothing in it is cut")
        held = next((one for one in self._held.values() if one.pod == order.pod and one.plan_id != order.plan_id), None)
        if held is not None:
            raise OrderRefused(
                "held", f"pod {order.namespace}/{order.name} is cut by {held.plan_id}; release that first"
            )
        # 4 cut
        try:
            return [_cut_told(self._cuts.put(_cut_of(order, link))) for link in pod.links]
        except LoomidiError:
            self._uncut(order)  # half of it would be a cut that nobody knows of
            raise

    def _deny(self, order: Order) -> list[dict[str, Any]]:
        if self._denies is None:
            raise OrderRefused("no-uplink", f"{self.node} has no link at which a source can be denied")
        match = Match(order.source)
        found = self._denies.entry(match)
        held = found is not None and found.live and found.deny.rule_id != rule_id(order.plan_id)
        if held and not _harder(order, found):
            raise OrderRefused("held", f"{order.source} has an entry of another plan; release that first")
        ttl_s = (order.until_ns - self._clock.now_ns()) / 1e9
        self._denies.deny(Deny(match, order.action, ttl_s, rule_id(order.plan_id), order.rate_pps, order.burst))
        written = self._denies.entry(match)
        return [_deny_told(written)] if written is not None else []

    def _release(self, order: Order) -> dict[str, Any]:
        """What was never begun stays undone: the order that would begin it may still be on its way."""
        rule, now_ns = order.rule or rule_id(order.plan_id), self._clock.now_ns()
        held = next((one for one in self._held.values() if rule_id(one.plan_id) == rule), None)
        if held is not None:
            return self._take_back(held, Step.UNDONE, "released")
        self._released = {one: until_ns for one, until_ns in self._released.items() if until_ns > now_ns}
        self._released[rule] = now_ns + round(2 * FRESH_S * 1e9)
        return self._answer(None, [], [])

    def _take_back(self, order: Order, step: Step, why: str) -> dict[str, Any]:
        before = self.told(order.plan_id)
        self._uncut(order)
        if order.source and self._denies is not None and any("source" in one and "under" not in one for one in before):
            self._denies.remove(Match(order.source))
        after = [one for one in self.told(order.plan_id) if "under" not in one]  # what is under another's is gone too
        receipt = self._note(order, step, before, after, why)
        del self._held[order.plan_id]
        if order.source:
            self._restore(self._clock.now_ns())  # what lay under it is met again
        return self._answer(receipt, before, after)

    def _over(self, plan_id: str, denied: DenyState) -> dict[str, Any] | None:
        """{} when the entry is the plan's own; by which plan, when a harder one lies over its own; else None."""
        if denied.deny.rule_id == rule_id(plan_id):
            return {}
        mine = self._held.get(plan_id)
        by = next((one for one in self._held.values() if rule_id(one.plan_id) == denied.deny.rule_id), None)
        return {"under": by.plan_id} if mine and by and (mine.action, by.action) == ("rate", "drop") else None

    def _uncut(self, order: Order) -> None:
        for one in self._cuts.states():
            if one.cut.plan == order.plan_id:
                self._cuts.remove(one.cut.ifindex)

    def _end(self, now_ns: int) -> None:
        for order in [one for one in self._held.values() if one.until_ns <= now_ns]:
            self._take_back(order, Step.EXPIRED, "its time is up")
        self._cuts.sweep()
        if self._denies is not None:
            self._denies.sweep()

    # -- records -----------------------------------------------------------------------------------------------------

    def _note(self, order: Order, step: Step, before: Sequence[Any], after: Sequence[Any], why: str = "") -> Receipt:
        inverse = {"verb": RELEASE, "pod": order.pod, "source": order.source}
        detail = {"order": dataclasses.asdict(order), "before": before, "after": after} | ({"why": why} if why else {})
        return self._receipts.append(order.plan_id, step, f"agent:{self.node}", inverse, detail)

    def _answer(self, receipt: Receipt | None, before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any]:
        told = receipt.as_dict() if receipt is not None else None
        return {"node": self.node, "receipt": told, "before": list(before), "after": list(after)}

    def _keep(self, token: int) -> None:
        """Before any effect; seldom, for it changes with the leader only."""
        if token > self._token:
            beside = self._tokens.with_suffix(".new")
            with beside.open("w", encoding="ascii") as file:
                json.dump({"token": token}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._tokens)
            self._token = token

    def _recover(self) -> None:
        """Take up the plans that are open by their receipts, and receipt what only the kernel knows of."""
        for plan_id in self._receipts.open_plans():
            order = next((_ordered(one) for one in self._receipts.of(plan_id) if "order" in one.detail), None)
            if order is not None:
                self._held[plan_id] = order
        for one in self._cuts.states():
            if one.live and one.cut.plan not in self._held:
                order = _found(self.node, one)
                self._held[order.plan_id] = order
                self._note(order, Step.APPLIED, [], [_cut_told(one)], "found in the kernel after a restart")

    def _restore(self, now_ns: int) -> None:
        """Entries of sources that should be there: the machine may have been started anew."""
        for order in [one for one in self._held.values() if one.source and one.until_ns > now_ns]:
            if self._denies is not None and not self.told(order.plan_id):
                self._deny(order)


def _harder(order: Order, found: DenyState | None) -> bool:
    """A drop may lie over a rate of another plan, the next step of its ladder: when it goes, the rate is met again."""
    return found is not None and (found.deny.action, order.action) == ("rate", "drop")


def _cut_of(order: Order, link: int) -> Cut:
    return Cut(link, order.pod, order.plan_id, order.token, order.until_ns, order.address)


def _cut_told(state: CutState) -> dict[str, Any]:
    """With what it did, as receipts and answers have it."""
    told = dataclasses.asdict(state)
    cut = told.pop("cut")
    hits = state.dropped_from + state.dropped_to
    return {"pod": cut["pod"], "link": cut["ifindex"], "expires_ns": cut["expires_ns"], "hits": hits} | told


def _deny_told(state: DenyState) -> dict[str, Any]:
    names = ("expires_ns", "live", "first_hit_ns", "last_hit_ns", "hits", "octets", "dropped")
    rate = {"rate_pps": state.deny.rate_pps, "burst": state.deny.burst} if state.deny.action == "rate" else {}
    return (
        {"source": state.deny.match.source, "action": state.deny.action} | rate | {n: getattr(state, n) for n in names}
    )


def _ordered(receipt: Receipt) -> Order:
    order, _ = read_order(dict(receipt.detail["order"]) | {"seal": ""})
    return order


def _found(node: str, state: CutState) -> Order:
    """What must have been ordered."""
    cut = state.cut
    return Order(CUT, node, cut.plan, "", 0, cut.expires_ns, cut.token, pod=cut.pod, address=cut.address)


def _token(file: Path) -> int:
    """The newest that was seen. Raises EnvironmentLacks when the file is no longer what we wrote."""
    try:
        return int(json.loads(file.read_text(encoding="ascii"))["token"]) if file.exists() else 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "remove it once no older operator can be at work"
        raise EnvironmentLacks(f"{file} does not hold the newest token ({error}); {hint}") from error
