"""One table of routes with the authority of each, as an ASGI application in which every failure is a problem.

Called by services with their table. In: routes and a gate. Out: an ASGI application; each request is admitted,
handled, answered, told to `told` (counters, access log) in that order. Leaves reading bodies to the handlers.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.kit import logging
from loomidi.services.http.authority import Authority, Gate
from loomidi.services.http.limits import Receive
from loomidi.services.http.problems import Answer, Problem, try_later

_log = logging.logger("services.http")
Send = Callable[[Any], Awaitable[None]]


@dataclasses.dataclass(slots=True)
class Call:
    """One request as a handler sees it."""

    headers: Mapping[bytes, bytes]  # names in lower case
    receive: Receive
    query: bytes = b""
    path: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what stands for the names in the route's path
    received_octets: int = 0  # of the body, as sent; the handler says it

    def took(self, octets: int) -> None:
        """Note how many octets came."""
        self.received_octets = octets

    def header(self, name: str) -> str:
        """Its value; empty when it is not there."""
        return self.headers.get(name.encode(), b"").decode("latin-1").strip()

    @property
    def media_type(self) -> str:
        """Of the body, without parameters, in lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def parameters(self, known: Sequence[str]) -> dict[str, str]:
        """Of the query. Raises Problem for one that is not known: it would be ignored otherwise."""
        if not self.query:
            return {}
        found = dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))
        if unknown := sorted(set(found) - set(known)):
            raise Problem("malformed", f"parameter {unknown[0][:40]!r} is not known: use {', '.join(known) or 'none'}")
        return found


Handler = Callable[[Call], Awaitable[Answer]]
Told = Callable[[str, Answer, Call, float], None]  # path, answer, call, seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One line of a table of routes."""

    method: str
    path: str
    authority: Authority
    handler: Handler


class _Endpoint:
    """Plain ASGI below Starlette's router: requests and responses as objects would cost a third of the throughput."""

    def __init__(self, route: Route, gate: Gate, told: Told) -> None:
        self._route, self._gate, self._told = route, gate, told

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        call = Call(headers, receive, scope["query_string"], scope.get("path_params", {}))
        try:
            self._gate.admit(scope, headers, self._route.authority)
            answer = await self._route.handler(call)
        except Problem as problem:
            answer = problem.answer()
        except (EnvironmentLacks, MemoryError) as error:
            _log.error("request found no memory", path=self._route.path, problem=str(error))
            answer = try_later("memory", "the service has no memory for this body now: send again later", 5).answer()
        except Exception as error:  # noqa: BLE001 - the edge: the client gets an answer, the log the traceback
            _log.error("request failed unexpectedly", path=self._route.path, exc_info=error)
            detail = "an error inside the service, logged there; please report it"
            answer = Problem("internal", detail).answer()
        self._told(self._route.path, answer, call, time.perf_counter() - began)
        await _send(send, answer)


class Application:
    """The table: a request whose path and method are in it goes straight to its endpoint, all others through Starlette.

    Starlette's middleware and matching take as long as everything else that is done for a small request.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], _Endpoint]) -> None:
        self._endpoints = endpoints
        table = [StarletteRoute(path, endpoint, methods=[method]) for (method, path), endpoint in endpoints.items()]
        self._others = Starlette(routes=table, exception_handlers={HTTPException: _no_route})
        self._others.router.redirect_slashes = False  # a POST that is redirected loses its body with many clients

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await self._others(scope, receive, send)


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in answer.headers),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def application(prefix: str, routes: Sequence[Route], gate: Gate, told: Told) -> Application:
    """The table as an application."""
    return Application({(route.method, prefix + route.path): _Endpoint(route, gate, told) for route in routes})


async def _no_route(request: Request, error: Exception) -> Response:
    """404 and 405 as problems."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = Problem("method", f"{request.method} is not for this path: see /openapi.json")
    else:
        problem = Problem("not-found", "there is nothing at this path: see /openapi.json under the API's prefix")
    answer = problem.answer()
    return Response(answer.body, answer.status, headers=dict(error.headers or {}), media_type=answer.media_type)
