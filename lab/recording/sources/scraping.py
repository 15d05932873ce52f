"""Metrics: pods that ask to be scraped, the kubelets' cAdvisor, and figures of each node from /proc and its cgroups.

Called by the recorder. In: pods of the watch (see `_port`), the API, the nodes. Out:
rows of the stream `metrics`, one scrape every `EVERY_S`. A target that does not answer gives `up` 0, as with
Prometheus.
"""

import concurrent.futures
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
SIDE_BY_SIDE = 4
PART_OF = "shop"
_NOTE = "prometheus.io/"


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
        uid, port = str(metadata.get("uid", "")), _port(change)
        with self._lock:
            self._targets.pop(uid, None)
            running = status.get("phase") == "Running" and change.change != "DELETED"
            if running and status.get("podIP") and port:
                job = str((metadata.get("labels") or {}).get("app", metadata.get("name", "")))
                instance = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
                path = str((metadata.get("annotations") or {}).get(f"{_NOTE}path", "/metrics"))
                self._targets[uid] = (job, instance, str(status["podIP"]), port, path)

    def __call__(self) -> list[Target]:
        """The targets of this moment."""
        with self._lock:
            found = list(self._targets.values())
        return [Target(job, instance, _http(address, port, path)) for job, instance, address, port, path in found]


def _port(change: Change) -> int:
    """Where a pod shows metrics: as it is annotated, a port of that name, or the port of one of the shop's services."""
    metadata, spec = change.metadata, change.object.get("spec") or {}
    notes, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if notes.get(f"{_NOTE}scrape") == "true":
        return int(notes[f"{_NOTE}port"]) if str(notes.get(f"{_NOTE}port", "")).isdigit() else 0
    names = {"metrics", "http"} if labels.get("app.kubernetes.io/part-of") == PART_OF else {"metrics"}
    ports = [port for container in spec.get("containers") or [] for port in container.get("ports") or []]
    return next((int(port["containerPort"]) for port in ports if port.get("name") in names), 0)


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
        self._pool = concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="rec-scrape")

    def start(self) -> None:
        """Scrape until the workers stop."""
        self._workers.spawn("metrics", self._run)

    def _run(self) -> None:
        while True:
            begun = time.monotonic()
            self._round(begun)
            if self._workers.pause(max(0.1, EVERY_S - (time.monotonic() - begun))):
                return self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self, now: float) -> None:
        targets = [*self._fixed, *self._pods()]
        keys = {(target.job, target.instance) for target in targets}
        self._due = {key: due for key, due in self._due.items() if key in keys}
        due = [target for target in targets if now >= self._due.get((target.job, target.instance), 0.0)]
        for target in due:
            self._due[target.job, target.instance] = now + target.every_s - EVERY_S / 2
        # Fetched side by side, as a node that is down would else hold the others up by a timeout for each pod.
        for scraped in self._pool.map(_fetched, due):
            self._write(scraped)

    def _write(self, scraped: "_Scraped") -> None:
        samples: list[Sample] = []
        bad = self._exposition.bad_lines
        if scraped.text is None:
            self._stream.balance.note("scrapes without an answer")
        else:
            samples = list(self._exposition.samples(scraped.text))
        self._stream.balance.note("scrapes")
        self._stream.balance.note("lines that are no samples", self._exposition.bad_lines - bad)
        samples.append(("up", "gauge", "{}", float(scraped.text is not None)))
        samples.append(("scrape_seconds", "gauge", "{}", scraped.took_s))
        self._stream.add(_rows(scraped.at_ns, scraped.target, samples))


@dataclasses.dataclass(frozen=True, slots=True)
class _Scraped:
    """One answer; no text: there was none."""

    target: Target
    at_ns: int
    took_s: float
    text: str | None


def _fetched(target: Target) -> _Scraped:
    at_ns, begun = time.time_ns(), time.monotonic()
    try:
        text: str | None = target.fetch()
    except (OSError, LoomidiError):
        text = None
    return _Scraped(target, at_ns, time.monotonic() - begun, text)


def _rows(at_ns: int, target: Target, samples: Iterable[Sample]) -> list[tuple[Any, ...]]:
    job, instance = target.job, target.instance
    return [(at_ns, job, instance, name, kind, labels, value) for name, kind, labels, value in samples]
