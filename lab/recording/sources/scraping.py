"""Metrics: pods that ask to be scraped, the kubelets' cAdvisor, and figures of each node from /proc and its cgroups.

Called by the recorder. In: pods of the watch (annotations prometheus.io/scrape, port, path), the API, the nodes. Out:
rows of the stream `metrics`, one scrape every `EVERY_S`. A target that does not answer gives `up` 0, as with
Prometheus.
"""

import dataclasses
import http.client
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.exposition import Exposition, Sample
from loomidi_lab.recording.sources.watching import Change
from loomidi_lab.recording.sources.working import Workers

EVERY_S = 5.0
CADVISOR_EVERY_S = 15.0  # its housekeeping is no faster, and each scrape costs the kubelet a tenth of a second
TIMEOUT_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One thing to scrape."""

    job: str
    instance: str
    fetch: Callable[[], str]  # raises OSError or LoomidiError
    every_s: float = EVERY_S


class PodTargets:
    """Pods that ask to be scraped, from the watch. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[str, tuple[str, str, str, int, str]] = {}

    def changed(self, change: Change, now_ns: int) -> None:
        """Take one change in."""
        if change.kind != "Pod":
            return
        metadata, status = change.metadata, change.object.get("status") or {}
        notes, uid = metadata.get("annotations") or {}, str(metadata.get("uid", ""))
        wanted = notes.get("prometheus.io/scrape") == "true" and status.get("phase") == "Running"
        port = str(notes.get("prometheus.io/port", ""))
        with self._lock:
            self._targets.pop(uid, None)
            if wanted and status.get("podIP") and port.isdigit() and change.change != "DELETED":
                job = str((metadata.get("labels") or {}).get("app", metadata.get("name", "")))
                instance = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
                path = str(notes.get("prometheus.io/path", "/metrics"))
                self._targets[uid] = (job, instance, str(status["podIP"]), int(port), path)

    def __call__(self) -> list[Target]:
        """The targets of this moment."""
        with self._lock:
            found = list(self._targets.values())
        return [Target(job, instance, _http(address, port, path)) for job, instance, address, port, path in found]


def _http(address: str, port: int, path: str) -> Callable[[], str]:
    def fetch() -> str:
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode("utf-8", "replace")
            if answer.status != 200:
                raise ConnectionError(f"{address}:{port}{path} answered {answer.status}")
            return body
        except http.client.HTTPException as error:
            raise ConnectionError(f"{address}:{port}{path}: {error}") from error
        finally:
            connection.close()

    return fetch


class Metrics:
    """Scrapes all targets in turn."""

    def __init__(
        self, stream: Stream, workers: Workers, fixed: Sequence[Target], pods: Callable[[], Sequence[Target]]
    ) -> None:
        self._stream, self._workers, self._fixed, self._pods = stream, workers, fixed, pods
        self._exposition = Exposition()
        self._due: dict[tuple[str, str], float] = {}

    def start(self) -> None:
        """Scrape until the workers stop."""
        self._workers.spawn("metrics", self._run)

    def _run(self) -> None:
        while True:
            begun = time.monotonic()
            self._round(begun)
            if self._workers.pause(max(0.1, EVERY_S - (time.monotonic() - begun))):
                return

    def _round(self, now: float) -> None:
        targets = [*self._fixed, *self._pods()]
        keys = {(target.job, target.instance) for target in targets}
        self._due = {key: due for key, due in self._due.items() if key in keys}
        for target in targets:
            key = (target.job, target.instance)
            if self._workers.stopping.is_set() or now < self._due.get(key, 0.0):
                continue
            self._due[key] = now + target.every_s - EVERY_S / 2
            self._scrape(target)

    def _scrape(self, target: Target) -> None:
        at_ns, begun, up = time.time_ns(), time.monotonic(), 1.0
        samples: list[Sample] = []
        bad = self._exposition.bad_lines
        try:
            samples = list(self._exposition.samples(target.fetch()))
        except (OSError, LoomidiError):
            up = 0.0
            self._stream.balance.note("scrapes without an answer")
        self._stream.balance.note("scrapes")
        self._stream.balance.note("lines that are no samples", self._exposition.bad_lines - bad)
        samples += [("up", "gauge", "{}", up), ("scrape_seconds", "gauge", "{}", time.monotonic() - begun)]
        self._stream.add(_rows(at_ns, target, samples))


def _rows(at_ns: int, target: Target, samples: Iterable[Sample]) -> list[tuple[Any, ...]]:
    job, instance = target.job, target.instance
    return [(at_ns, job, instance, name, kind, labels, value) for name, kind, labels, value in samples]
