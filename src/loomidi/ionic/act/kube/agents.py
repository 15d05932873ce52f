"""The node agents as the driver speaks to them: sealed orders over HTTPS, one agent at a time, no second try.

Called by `cuts`. In: which node at which address, an order. Out: the agent's answer, or AgentAway, or OrderRefused with
the agent's own words. TLS with our certificate where one is given; the agents share one name in theirs, since addresses
of nodes come and go.
"""

import dataclasses
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from loomidi.contracts import EnvironmentLacks
from loomidi.ionic.errors import AgentAway, OrderRefused
from loomidi.ionic.orders import Order, Sealer
from loomidi.kit.clock import Clock, SystemClock

_PREFIX = "/agent-api"
_REMEMBERED = 4096  # orders
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)


@dataclasses.dataclass(frozen=True, slots=True)
class AgentSettings:
    """How agents are reached, and what happens when one is not."""

    port: int = 9103
    # On every node's address.
    authority: Path | None = None
    # PEM; who signs the agents' certificates. None: plain HTTP, for agents on this machine.
    certificate: Path | None = None
    # PEM; ours, that the agents ask for.
    key: Path | None = None
    # PEM, its key.
    name: str = "loomidi-agent"
    # That the agents' certificates have.
    timeout_s: float = 2.0
    # For one answer; a cut takes milliseconds, so who needs longer is away.
    required: bool = False
    # Whether a Fold is refused where the node cannot cut. Else what the API can do is done, and the receipt says so.


class Agents:
    """All of them. `token`: the fencing token of who leads, asked for every order."""

    def __init__(
        self,
        sealer: Sealer,
        token: Callable[[], int],
        settings: AgentSettings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Raises EnvironmentLacks for certificates that cannot be used."""
        self.settings, self.clock = settings or AgentSettings(), clock or SystemClock()
        self._sealer, self._token = sealer, token
        self.never: dict[tuple[str, int], None] = {}  # node and rule of orders that did not leave this process
        self._scheme = "https" if self.settings.authority else "http"
        self._client = httpx.Client(
            timeout=self.settings.timeout_s, verify=_context(self.settings), trust_env=False, transport=transport
        )

    def send(self, address: str, order: Order) -> dict[str, Any]:
        """Have it carried out. Raises AgentAway, OrderRefused."""
        sent = dataclasses.replace(order, issued_ns=self.clock.now_ns(), token=self._token())
        return self._ask("POST", order.node, address, "/orders", json=sent.sealed(self._sealer))

    def unsent(self, node: str, rule: int) -> None:
        """Remember that the node has never heard of the plan, so that its undo need not wait for the node."""
        self.never[node, rule] = None
        while len(self.never) > _REMEMBERED:
            del self.never[next(iter(self.never))]

    def told(self, node: str, address: str, plan_id: str) -> dict[str, Any]:
        """What is in force there for a plan, read back. Raises AgentAway."""
        return self._ask("GET", node, address, "/cuts", params={"plan": plan_id})

    def heard(self, node: str, address: str, pod: str, peers: Sequence[str]) -> dict[str, Any]:
        """Whom a pod there, by its UID, speaks with: these addresses and CIDRs, or all. Raises AgentAway."""
        wanted = {"peers": ",".join(peers)} if peers else {}
        return self._ask("GET", node, address, "/flows", params={"pod": pod, **wanted})

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, method: str, node: str, address: str, path: str, **more: Any) -> dict[str, Any]:
        host = f"[{address}]" if ":" in address else address
        url = f"{self._scheme}://{host}:{self.settings.port}{_PREFIX}{path}"
        try:
            response = self._client.request(method, url, extensions={"sni_hostname": self.settings.name}, **more)
        except httpx.HTTPError as error:
            why = f"{host}:{self.settings.port}, {type(error).__name__}: {error}".rstrip(": ")
            text, unsent = f"the agent of node {node} does not answer ({why})", isinstance(error, _UNSENT)
            raise AgentAway(text, unsent=unsent) from error
        return _answer(response, node)


def _answer(response: httpx.Response, node: str) -> dict[str, Any]:
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    if response.is_success and isinstance(body, dict):
        return body
    told = body if isinstance(body, Mapping) else {}
    why = str(told.get("detail") or f"status {response.status_code}")
    if "order" in told:
        raise OrderRefused(str(told["order"]), f"node {node}: {why}")
    raise AgentAway(f"the agent of node {node} says {response.status_code}: {why}")


def _context(settings: AgentSettings) -> ssl.SSLContext | bool:
    if settings.authority is None:
        return True
    try:
        context = ssl.create_default_context(cafile=str(settings.authority))
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentLacks(f"the certificates for node agents cannot be used: {error}; see --agents-ca") from error
    return context
