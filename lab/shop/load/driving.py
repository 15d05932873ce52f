"""Starts and stops a load on a shop in a lab; the sending is done by a process of its own in the outside namespace.

Called by the verbs, the recorder and scenarios. In: lab, shop, profile, seed, folder. Out: `LoadSummary`.
"""

import contextlib
import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loomidi.contracts.errors import Conflict, EnvironmentLacks
from loomidi_lab.shop.asking import fetch
from loomidi_lab.shop.load.profiles import LoadProfile
from loomidi_lab.shop.load.sending import REQUESTS, SUMMARY
from loomidi_lab.shop.load.summaries import LoadSummary

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.shop.deploying import Shop

USERS = "203.0.113.0/24"  # addresses of people, all of them local in the outside namespace
_BEGIN_S, _END_S = 20.0, 30.0
_numbers = itertools.count(1)


class Load:
    """One load, from `start` to `stop`."""

    def __init__(self, lab: "Lab", shop: "Shop", profile: LoadProfile, seed: int, out: Path) -> None:
        self._lab, self._shop = lab, shop
        self._profile, self._seed = profile.checked(), seed
        self._label = f"load-{shop.namespace}-{next(_numbers)}"
        self._process: subprocess.Popen[bytes] | None = None
        self.out = out
        self.requests = out / REQUESTS
        self.metrics_port = 0

    def start(self, *, seconds: float = float("inf"), start_ns: int = 0, metrics_port: int = 0) -> "Load":
        """Begin: now, or at a moment of the wall clock. Raises Conflict when it runs already."""
        if self._process is not None:
            raise Conflict("this load was started already; make another one")
        for old in (self.out / SUMMARY, self.requests):
            old.unlink(missing_ok=True)
        self.metrics_port = metrics_port
        words = ["--url", self._shop.frontend_url, "--profile", self._profile.as_json(), "--seed", str(self._seed)]
        words += ["--out", str(self.out.resolve()), "--seconds", str(seconds), "--start-ns", str(start_ns)]
        words += ["--sources", USERS, "--metrics-port", str(metrics_port)]
        argv = [sys.executable, "-m", "loomidi_lab.shop.load", *words]
        self._process = self._lab.start(self._label, argv, netns=self._lab.outside_netns)
        return self

    @property
    def running(self) -> bool:
        """Whether it still sends."""
        return self._process is not None and self._process.poll() is None

    def metrics(self) -> str:
        """Prometheus text of a running load that was given a port; else empty."""
        if not (self.running and self.metrics_port):
            return ""
        return fetch(self._lab.outside_netns, [f"http://127.0.0.1:{self.metrics_port}/metrics"])[0]

    def wait(self, timeout_s: float) -> LoadSummary:
        """Until the schedule is over. Raises EnvironmentLacks when the sender failed."""
        until = time.monotonic() + timeout_s
        while self.running and time.monotonic() < until:
            time.sleep(0.1)
        return self.stop()

    def drop(self) -> None:
        """End it at once, with what is under way: nobody wants a sum. Nothing to do when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> LoadSummary:
        """End it, let what is under way come back, and sum up. Raises EnvironmentLacks when the sender failed."""
        process = self._process
        if process is None:
            raise Conflict("this load was not started")
        until = time.monotonic() + _BEGIN_S
        while process.poll() is None and not self.requests.exists() and time.monotonic() < until:
            time.sleep(0.02)  # before that it would end without a word
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        if not (self.out / SUMMARY).exists():
            log = self._lab.folder / "logs" / f"{self._label}.log"
            raise EnvironmentLacks(f"the load ended with code {process.returncode}; {log} says why")
        return LoadSummary.read(self.out / SUMMARY)
