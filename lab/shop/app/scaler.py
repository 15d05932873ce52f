"""scaler: what a HorizontalPodAutoscaler does, where no metrics server is: reads the pods' metrics, sets replicas.

Talks to the Kubernetes API with the pod's service account: lists pods, reads and patches the scale subresource of its
targets, nothing else. When pods cannot be measured nothing is changed.
"""

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import Counter, Gauge

from loomidi_lab.shop.app import deciding
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.starting import Frame, Service

SCALER_WANTED = Gauge("shop_scaler_wanted", "Replicas wanted before hysteresis", ["deployment"])
SCALER_REPLICAS = Gauge("shop_scaler_replicas", "Replicas set", ["deployment"])
SCALER_LOAD = Gauge("shop_scaler_load", "Load measured", ["deployment"])
SCALER_CHANGES = Counter("shop_scaler_changes", "Changes made", ["deployment", "direction"])
SCALER_FAILURES = Counter("shop_scaler_failures", "Rounds that could not decide", ["deployment", "kind"])

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_API = "https://kubernetes.default.svc"


class Scaler:
    """One decider for each target."""

    def __init__(self, frame: Frame) -> None:
        work = frame.settings.work
        self._namespace = frame.settings.namespace
        self._every_s = work.scaler_every_s
        self._api = work.api_url or _API
        self._deciders = [deciding.Decider(target, work.scaler_calm_s) for target in deciding.targets(work.scaler)]
        self._before: dict[str, tuple[float, float]] = {}  # pod uid -> (time, counter)
        self._session: Any = None

    async def start(self) -> None:
        """Make the session; the API server is asked in the first round."""
        authority = _ACCOUNT / "ca.crt"
        context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
        connector = aiohttp.TCPConnector(ssl=context) if context else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=3.0))

    async def run(self) -> None:
        """One round after the other."""
        while True:
            for decider in self._deciders:
                name = decider.target.deployment
                try:
                    await self._round(decider)
                except (TimeoutError, aiohttp.ClientError, OSError, KeyError, ValueError) as error:
                    SCALER_FAILURES.labels(name, type(error).__name__).inc()
                    log("warning", "not decided", deployment=name, reason=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(self._every_s)

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def _round(self, decider: deciding.Decider) -> None:
        target = decider.target
        load = await self._load(target)
        scale = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{target.deployment}/scale"
        replicas = int((await self._ask("GET", scale))["spec"].get("replicas", 0))
        if replicas == 0 or load is None:
            return  # somebody switched it off, or there is no second measurement yet
        wanted, now = decider.decide(time.monotonic(), replicas, load)
        SCALER_LOAD.labels(target.deployment).set(load)
        SCALER_WANTED.labels(target.deployment).set(wanted)
        SCALER_REPLICAS.labels(target.deployment).set(now)
        if now == replicas:
            return
        await self._ask("PATCH", scale, {"spec": {"replicas": now}})
        SCALER_CHANGES.labels(target.deployment, "up" if now > replicas else "down").inc()
        log("info", "scaled", deployment=target.deployment, before=replicas, after=now, load=round(load, 2))

    async def _load(self, target: deciding.Target) -> float | None:
        path = f"/api/v1/namespaces/{self._namespace}/pods?labelSelector=app%3D{target.deployment}"
        pods = (await self._ask("GET", path))["items"]
        addresses = {
            p["metadata"]["uid"]: p["status"]["podIP"]
            for p in pods
            if p["status"].get("phase") == "Running"
            and p["status"].get("podIP")
            and "deletionTimestamp" not in p["metadata"]
        }
        found = await asyncio.gather(*(self._measure(uid, ip, target) for uid, ip in addresses.items()))
        known = [value for value in found if value is not None]
        if not known:
            return None
        if target.shared:
            return max(known)
        # Pods that cannot be measured count like the mean of the others: guessing zero would scale down in a fault.
        return sum(known) * len(found) / len(known)

    async def _measure(self, uid: str, address: str, target: deciding.Target) -> float | None:
        try:
            async with self._session.get(f"http://{address}:8080/metrics") as answer:
                value = total(await answer.text(), target.metric)
        except (TimeoutError, aiohttp.ClientError, OSError):
            SCALER_FAILURES.labels(target.deployment, "pod").inc()
            return None
        if not target.rate:
            return value
        now = time.monotonic()
        before = self._before.get(uid)
        self._before[uid] = (now, value)
        if before is None or value < before[1] or now <= before[0]:
            return None
        return (value - before[1]) / (now - before[0])

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"content-type": "application/merge-patch+json"}
        token = _ACCOUNT / "token"
        if token.exists():
            headers["authorization"] = f"Bearer {token.read_text().strip()}"  # read anew: tokens are renewed in place
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._api + path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ValueError(f"{method} {path}: {answer.status} {text[:120]}")
            return json.loads(text)


def total(text: str, metric: str) -> float:
    """Sum over all label sets of one metric in Prometheus' text format."""
    found = 0.0
    for line in text.splitlines():
        if line.startswith(metric) and line[len(metric) : len(metric) + 1] in ("{", " "):
            found += float(line.rpartition(" ")[2])
    return found


def build(frame: Frame) -> Service:
    """The scaler."""
    scaler = Scaler(frame)
    return Service(needs=[scaler.start], runs=[scaler.run], closes=[scaler.close])
