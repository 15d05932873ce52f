"""The HTTP server, inside the event loop of the service: granian, embedded.

Called by services. In: an ASGI application, a `Door`, an event that says when to end. Out: it listens until then,
finishes what is in flight, and lets go of the port. Leaves admission of single requests to `authority.Gate`.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from loomidi.contracts.errors import Conflict, EnvironmentLacks, InputError, UsageError
from loomidi.kit import leaving
from loomidi.services.http.authority import Door

_HEADERS_MS = 10_000  # a client must have sent its headers by then
_BACKLOG = 1024


def bound_port(door: Door) -> int:
    """The port that will be listened on: the one named, or one that is free. Raises Conflict when it is taken."""
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((door.host, door.port))
        except OSError as error:
            raise _bind_error(error, door) from error
        return int(trial.getsockname()[1])


def _bind_error(error: OSError, door: Door) -> Exception:
    where = f"{door.host}:{door.port}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"{where} is in use; end who listens there (`ss -ltnp`), or give another --port")
    if error.errno == errno.EACCES:
        return EnvironmentLacks(f"{where}: no right to listen on a port below 1024; give another --port")
    return UsageError(f"{where} cannot be listened on: {error.strerror or error}; give an address of this machine")


async def serve(
    app: Any,
    door: Door,
    told: asyncio.Event,
    *,
    listening: Callable[[int], object] = lambda _port: None,
    public: bool = False,
) -> None:
    """Until `told` is set. `listening` is called with the port once connections are taken.

    `public`: nothing that is told or taken here needs a key, so the door may stand open beyond this machine.
    """
    if not public:
        door.check()
    leaving.at_once()  # granian's threads outlive the server by a little
    port = bound_port(door)
    server = Server(
        app,
        address=door.host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_MS),
        websockets=False,
        backlog=_BACKLOG,
        log_enabled=False,
        ssl_cert=door.tls_cert,
        ssl_key=door.tls_key,
        ssl_ca=door.client_ca,
        ssl_client_verify=door.client_ca is not None,
    )
    running = asyncio.ensure_future(server.serve())
    ending = asyncio.ensure_future(told.wait())
    try:
        await _until_up(running, door, port)
        listening(port)
        await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await _ended(running)


async def _until_up(running: "asyncio.Future[None]", door: Door, port: int) -> None:
    """Connections are taken, or the reason why not. Raises InputError: what is left are unusable certificates."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(door.host, door.host)  # noqa: S104 - compared, not bound
    while not running.done():
        try:
            _reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    await _ended(running)


async def _ended(running: "asyncio.Future[None]") -> None:
    try:
        await running
    except OSError as error:
        raise Conflict(f"cannot listen: {os.strerror(error.errno or 0)}; give another --port") from error
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the server did not start: {error}; see the certificate, its key and the CA") from error
