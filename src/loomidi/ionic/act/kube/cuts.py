"""What a node's agent does at once, as a change like any other: a pod cut off on its link, a source denied on a node.

Drawn by `isolating` and `networks`, carried by the driver through `changes`. In: a node, what shall be done there.
Out: sealed orders. Where the agent does not answer, nothing is claimed: the change says that it was not made, and
whether the rest of the plan goes on without it is a setting. The agent ends it by itself a little after the plan's end.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.agents import Agents
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import AgentAway, NotActing, OrderRefused
from loomidi.ionic.orders import CUT, DENY, RELEASE, Order

GRACE_S = 10.0  # beyond the plan's end: its undo comes first where anybody is there to make it


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """One order for the agent of `node`, which is at `address`."""

    node: str
    address: str
    until_ns: int  # epoch; when it ends whatever happens
    order: Mapping[str, Any]  # the fields of an `Order` that say what to do
    approval: str = dataclasses.field(default="", compare=False)  # signature, when it is to be applied
    agents: Agents | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def path(self) -> str:
        """In words, among the paths of objects."""
        return f"node {self.node}: {self.order['verb']} {self._what}"

    def stored(self) -> dict[str, Any]:
        """As it is kept in the inverse."""
        return {"node": self.node, "address": self.address, "until_ns": self.until_ns, "order": dict(self.order)}

    def begun(self, api: KubeApi, plan_id: str) -> bool:
        """Nothing on the cluster's objects tells."""
        return False

    def apply(self, api: KubeApi, plan_id: str) -> dict[str, Any]:
        """Have it done; what was done, or why not. Raises AgentAway, OrderRefused where it is required."""
        try:
            answer = self._reached().send(self.address, self._order(plan_id))
        except (AgentAway, OrderRefused) as error:
            if isinstance(error, AgentAway) and error.unsent and self.agents is not None:
                self.agents.unsent(self.node, rule_id(plan_id))
            if self._required:
                raise
            return {"node": self.node, "made": False, "why": str(error)}
        receipt = answer.get("receipt") or {}
        spares = {"spares": answer["spares"]} if answer.get("spares") else {}  # agents of an older version tell none
        made = {"made": True, "receipt": receipt.get("id", ""), "entries": answer.get("after", [])}
        return {"node": self.node, **made, **spares}

    def holds(self, api: KubeApi, plan_id: str) -> str:
        """'' unless it was made and is no longer there, or had to be made."""
        return self._read_back(plan_id)[1]

    def note(self, plan_id: str) -> str:
        """What the node says of it, for whoever reads the receipt."""
        return self._read_back(plan_id)[0]

    def undo(self, api: KubeApi, rule: int) -> list[str]:
        """Have it released; what is left, in words."""
        order = Order(RELEASE, self.node, "", "", 0, 0, 0, rule=rule)
        try:
            self._reached().send(self.address, order)
        except (AgentAway, OrderRefused) as error:
            return [f"{self.path}: not released ({error}); it ends by itself"]
        return []

    def ours(self, api: KubeApi, rule: int) -> bool:
        """Whether it is in force still, or may be.

        The agent is asked, whatever our clock says: its own may not have come so far. Of one that is away nothing is
        known before the time is over, by our clock and by the API server's: one that jumped ends nothing.
        """
        try:
            found = self._reached().told(self.node, self.address, "")
        except AgentAway:
            agents = self.agents
            return agents is None or (api.earliest_ns() < self.until_ns and (self.node, rule) not in agents.never)
        return any(rule_id(plan) == rule for plan in found.get("plans", {}))

    @property
    def _what(self) -> str:
        what = self.order.get("source") or f"{self.order.get('namespace')}/{self.order.get('name')}"
        return str(what)

    @property
    def _required(self) -> bool:
        return self.agents is not None and self.agents.settings.required

    def _order(self, plan_id: str) -> Order:
        """When it was issued and under which token is set as it is sent."""
        what = dict(self.order)
        return Order(what.pop("verb"), self.node, plan_id, self.approval, 0, self.until_ns, 0, **what)

    def _reached(self) -> Agents:
        if self.agents is None:
            raise AgentAway(f"no agents are known here, so that of node {self.node} cannot be asked; see --agents-key")
        return self.agents

    def _read_back(self, plan_id: str) -> tuple[str, str]:
        """In words, and what is wrong with it; '' when nothing is."""
        try:
            found = self._reached().told(self.node, self.address, plan_id)
        except AgentAway as error:
            told = f"not known to be cut on node {self.node}: {error}"
            return told, told if self._required else ""
        if (entries := found.get("plans", {}).get(plan_id)) is not None:
            return f"in force on node {self.node}, {sum(one.get('hits', 0) for one in entries)} packets met", ""
        made = bool(found.get("known"))
        told = f"{'no longer' if made else 'not'} in force on node {self.node}"
        return told, told if made or self._required else ""


def cut_pod(agents: Agents | None, pod: Mapping[str, Any], fold: FoldSpec, at_ns: int) -> list[Cut]:
    """The pod cut off on its link; nothing where there are no agents. Raises NotActing where it must be and cannot."""
    node, address = pod["spec"].get("nodeName", ""), pod.get("status", {}).get("hostIP", "")
    if agents is None:
        return []
    if not (node and address):
        if agents.settings.required:
            raise NotActing(f"{fold.target} runs on no node yet, so nothing can cut it off")
        return []
    metadata = pod["metadata"]
    own = [one["ip"] for one in pod["status"].get("podIPs") or () if ":" not in one["ip"]]
    order = {"verb": CUT, "pod": metadata["uid"], "namespace": metadata["namespace"], "name": metadata["name"]}
    return [Cut(node, address, _end(fold, at_ns), order | {"address": own[0] if own else ""})]


def deny_source(agents: Agents | None, nodes: Sequence[Mapping[str, Any]], fold: FoldSpec, at_ns: int) -> list[Cut]:
    """The fold's source dropped or slowed down on the uplinks of these nodes."""
    if agents is None:
        return []
    order: dict[str, Any] = {"verb": DENY, "source": fold.match.source, "action": fold.action}
    if fold.action == "rate":
        order |= {"rate_pps": fold.rate_pps, "burst": fold.burst or fold.rate_pps}
    found = [(one["metadata"]["name"], _internal(one)) for one in nodes]
    return [Cut(name, address, _end(fold, at_ns), order) for name, address in sorted(found) if address]


def _end(fold: FoldSpec, at_ns: int) -> int:
    return at_ns + round((fold.ttl_s + GRACE_S) * 1e9)


def _internal(node: Mapping[str, Any]) -> str:
    addresses = node.get("status", {}).get("addresses") or ()
    return next((str(one["address"]) for one in addresses if one["type"] == "InternalIP"), "")
