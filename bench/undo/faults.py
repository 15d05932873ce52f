"""What goes wrong: each fault of `draws.FAULTS`, made for real, for a while, and ended again.

Called by bench/fold_undo.py, from many threads. In: the lab, what defends it, the proxy before its API. Out: a call a
fault, which comes back when the fault is over. Faults of one sort may overlap: the first one begins it, the last one
ends it. What each did is counted in `made` and in the proxy's `met`.
"""

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from bench.undo import states
from bench.undo.defending import Defence
from bench.undo.draws import Draw
from bench.undo.populations import until
from bench.undo.proxies import Proxy
from loomidi.contracts import LoomidiError
from loomidi_lab.cluster import Lab

_HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_NAME = "fold-undo-silent"
_SKEWS = (-20, -5, 15, 60, 90, 400)  # seconds; beyond 120 agents find orders stale, behind a plan is not made yet
_MADE_BY_FOLDS = ("loomidi-isolate-", "fold-undo-drop")


class Faults:
    """All of them."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab, self._seed = lab, seed
        self.proxy = Proxy(lab.api.server, lab.site.pki / "ca.crt", str(seed), self._meddle)
        self.defence: Defence | None = None
        self.made: Counter[str] = Counter()
        self._lock = threading.Lock()  # of what is counted and meddled
        self._silent, self._skews = 0, list[int]()
        self._meddled: dict[str, None] = {}
        self._deaf = socket.create_server((lab.host_address, 0), backlog=512)  # takes calls, answers none

    def meet(self, draw: Draw) -> None:
        """The fault of a draw, from beginning to end."""
        dice, defence = random.Random(draw.seed), self.defence
        assert defence is not None
        faults: dict[str, Callable[[random.Random, Draw, Defence], None]] = {
            "api busy": self._busy,
            "conflict": self._conflict,
            "watch drop": self._watch_drop,
            "silent webhook": self._webhook,
            "operator kill": self._operator_kill,
            "agent kill": self._agent_kill,
            "node restart": self._node_restart,
            "clock jump": self._clock_jump,
        }
        with self._lock:
            self.made[draw.fault] += 1
        faults[draw.fault](dice, draw, defence)

    def quiet(self) -> None:
        """What others have written goes; a run's state is compared without it."""
        for path in list(self._meddled):
            with contextlib.suppress(LoomidiError):  # it is gone
                states.quiet(self._lab, path)
        self._meddled.clear()

    def close(self) -> None:
        """Everything off."""
        self._lab.api.delete(f"{_HOOKS}/{_NAME}")
        self.proxy.close()
        self._deaf.close()

    def _busy(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        with self.proxy.trouble("busy"):
            time.sleep(dice.uniform(1, 4))

    def _conflict(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        with self.proxy.trouble("conflict"):
            time.sleep(dice.uniform(2, 5))

    def _watch_drop(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        with self.proxy.trouble("unwatched"):
            self.proxy.drop_watches()
            time.sleep(dice.uniform(0.2, 3))

    def _webhook(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        """An admission webhook that must be asked and does not answer."""
        with self._silence():
            time.sleep(dice.uniform(2, 5))

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        with self._lock:
            self._silent += 1
            if self._silent == 1:
                self._lab.api.post(_HOOKS, self._hook())
        try:
            yield
        finally:
            with self._lock:
                self._silent -= 1
                if self._silent == 0:
                    self._lab.api.delete(f"{_HOOKS}/{_NAME}")

    def _operator_kill(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        defence.new_operator(dice.uniform(0, 2), other=dice.random() < 0.25)

    def _agent_kill(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        with defence.node_locks[draw.node]:
            defence.kill_agent(draw.node)
            time.sleep(dice.uniform(0, 3))
            defence.start_agent(draw.node)

    def _node_restart(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        """One node at a time: the other one serves."""
        with contextlib.ExitStack() as held:
            for lock in defence.node_locks.values():
                held.enter_context(lock)
            defence.kill_agent(draw.node)
            self._lab.restart_node(draw.node)
            time.sleep(dice.uniform(0, 3))
            defence.start_agent(draw.node)
            answering = f"/api/v1/nodes/{draw.node}/proxy/healthz"
            until(lambda: self._says(answering), f"{draw.node} is back", 60)

    def _says(self, path: str) -> bool:
        try:
            return self._lab.api.text(path) == "ok"
        except LoomidiError:
            return False

    def _clock_jump(self, dice: random.Random, draw: Draw, defence: Defence) -> None:
        """Of the operator; the newest jump counts."""
        seconds = dice.choice(_SKEWS)
        with self._lock:
            self._skews.append(seconds)
            defence.skew(seconds)
        time.sleep(dice.uniform(2, 5))
        with self._lock:
            self._skews.remove(seconds)
            defence.skew(self._skews[-1] if self._skews else 0)

    def _meddle(self, path: str) -> None:
        """As somebody else who writes at the same time: a label on the object of a request, its lease excepted.

        A policy that a fold has made is left alone: one that others have edited is theirs, and stays.
        """
        for sub in ("/status", "/scale", "/resize"):
            path = path.removesuffix(sub)
        if "/leases/" in path or path.rpartition("/")[2].startswith(_MADE_BY_FOLDS):
            return
        with self._lock:
            self._meddled[path] = None
            self.made["writes of others"] += 1
            text = str(self.made["writes of others"])
        with contextlib.suppress(LoomidiError):
            self._lab.api.patch(path, {"metadata": {"labels": {states.OTHERS: text}}})

    def _hook(self) -> dict[str, object]:
        """Asked for whatever folds change and what Folds are; never for what others need to go on."""
        host, port = self._deaf.getsockname()[:2]
        own = ("folds", "folds/status", "foldpolicies/status")
        rules = [_rule("loomidi.io", "v1alpha1", ("UPDATE",), *own)]
        rules += [_rule("", "v1", ("UPDATE",), "pods", "pods/resize", "nodes")]
        rules += [_rule("networking.k8s.io", "v1", ("CREATE", "UPDATE", "DELETE"), "networkpolicies")]
        workloads = ("deployments", "statefulsets", "deployments/scale", "statefulsets/scale")
        rules += [_rule("apps", "v1", ("UPDATE",), *workloads)]
        rules += [_rule("autoscaling", "v2", ("UPDATE",), "horizontalpodautoscalers")]
        hook = {
            "name": "silent.fold-undo.loomidi.io",
            "clientConfig": {"url": f"https://{host}:{port}/"},
            "rules": rules,
            "failurePolicy": "Fail",
            "timeoutSeconds": 1,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {"metadata": {"name": _NAME}, "webhooks": [hook]}


def _rule(group: str, version: str, operations: tuple[str, ...], *resources: str) -> dict[str, object]:
    given = {"apiGroups": [group], "apiVersions": [version], "resources": list(resources)}
    return given | {"operations": list(operations)}
