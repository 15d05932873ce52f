"""Health, readiness and Prometheus metrics of a service, on a port of their own.

Called by every service with callables. In: why it is not ready (nothing: it is), its samples. Out: `/healthz` answers
while the event loop turns, `/readyz` 200 or 503 with the reasons, `/metrics` the text format of Prometheus. Leaves
what counts as ready to the service. The port is for the machine or the cluster's network: nothing secret is told here,
so it may be opened (0.0.0.0, for a kubelet) without TLS and tokens.
"""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomidi.services.http.authority import Door

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One number of a metric."""

    name: str  # loomidi_..., with its unit; counters end in _total
    kind: str  # counter or gauge
    about: str  # one line
    value: float
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


def exposition(samples: Iterable[Sample]) -> str:
    """The text format 0.0.4; samples of one name are brought together."""
    metrics: dict[str, list[Sample]] = {}
    for sample in samples:
        metrics.setdefault(sample.name, []).append(sample)
    lines = [line for name, group in metrics.items() for line in _lines(name, group)]
    return "\n".join(lines) + "\n" if lines else ""


def _lines(name: str, group: Sequence[Sample]) -> Iterable[str]:
    yield f"# HELP {name} {_escaped(group[0].about)}"
    yield f"# TYPE {name} {group[0].kind}"
    for sample in group:
        labels = ",".join(f'{key}="{_label(value)}"' for key, value in sample.labels.items())
        yield f"{name}{{{labels}}} {sample.value}" if labels else f"{name} {sample.value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _label(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


@dataclasses.dataclass(frozen=True, slots=True)
class Probes:
    """What is asked of a service. `ready`: one line for each thing that is not; `samples`: all its metrics, now."""

    ready: Callable[[], Sequence[str]]
    samples: Callable[[], Iterable[Sample]]

    async def serve(
        self, door: "Door", told: asyncio.Event, *, listening: Callable[[int], object] = lambda _port: None
    ) -> None:
        """Until `told` is set. Raises Conflict when the port is taken."""
        from loomidi.services.http import serving

        await serving.serve(self.application(), door, told, listening=listening, public=True)

    def application(self) -> object:
        """As ASGI."""
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route

        async def healthz(_request: Request) -> Response:
            return Response("ok\n", media_type="text/plain")

        async def readyz(_request: Request) -> Response:
            reasons = list(self.ready())
            body = json.dumps({"ready": not reasons, "reasons": reasons}) + "\n"
            return Response(body, 503 if reasons else 200, media_type="application/json")

        async def metrics(_request: Request) -> Response:
            return Response(exposition(self.samples()), headers={"Content-Type": _TEXT})

        handlers = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
        return Starlette(routes=[Route(path, handler, methods=["GET"]) for path, handler in handlers.items()])
