"""An operator in memory: an API server of a few lines that holds Folds to their phases, a driver with its own world."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from loomidi.contracts import Approval, FoldSpec, Mode, Plan
from loomidi.contracts.ports import Guard
from loomidi.fold.operator import Approvers, Carrier, Fence, Pen, Reconciler, SharedKey, World
from loomidi.fold.operator.braking import Around
from loomidi.fold.operator.climbing import standing
from loomidi.fold.operator.policing import Leave, leave_for
from loomidi.fold.operator.spots import Pod, spot_of
from loomidi.fold.operator.surrounding import all_counted
from loomidi.fold.operator.views import View
from loomidi.fold.operator.world import Ledger, unkept
from loomidi.fold.resources import Phase, fold_object
from loomidi.fold.resources.objects import moment
from loomidi.fold.resources.phases import FIRST, WRITTEN
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.decide import Decider, DeciderSettings, FloorGuard, RegoGuard
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ChangedMeanwhile, ClusterAway, NotActing
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS, a_clock, a_decider, a_plan

Object = dict[str, Any]
MADE = moment(NOW_NS)
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/default/folds"


class FakeCluster(FakeApi):
    """Folds with the subresource status, the table of phases, finalizers, and a list of the statuses written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Object] = []

    def _patch(self, request: httpx.Request) -> httpx.Response:
        place = request.url.path.removesuffix("/status")
        before = self.objects.get(place, {}).get("status", {})
        inner = request if "/status" not in request.url.path else self._without(request, place)
        response = super()._patch(inner)
        after = self.objects[place].get("status", {})
        if response.is_success and after != before:
            self._legal(before, after)
            self.written.append(after)
        return response

    def _without(self, request: httpx.Request, place: str) -> httpx.Request:
        return httpx.Request("PATCH", f"http://fake{place}", content=request.content)

    def _legal(self, before: Object, after: Object) -> None:
        old, new = before.get("phase"), after.get("phase")
        assert new == old or Phase(new) in (WRITTEN[Phase(old)] if old else FIRST), (old, new)
        assert not old or len(after.get("receipts", ())) >= len(before.get("receipts", ()))
        kept = {one["id"]: one for one in after.get("receipts", ())}
        assert all(kept[one["id"]] == one for one in before.get("receipts", ())), "a receipt was changed"


class FakeDriver:
    """Its world is a dict: a plan puts its target in, an undo takes it out. It looks whether the inverse is stored."""

    name = "fake"

    def __init__(self, cluster: FakeCluster, clock: ManualClock) -> None:
        self.cluster, self.clock = cluster, clock
        self.world: dict[int, str] = {}
        self.failing: list[str] = []  # what fails next: apply, undo, away
        self.broken = False  # whether verify finds it changed
        self.told = ""  # what apply says beside

    def check(self, fold: FoldSpec) -> str | None:
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        if self._fails("inverse"):
            raise NotActing("there is no such thing")
        return {"target": fold.target, "before": None, "count": 2.0}

    def apply(self, plan: Plan, approval: Approval) -> Mapping[str, Any]:
        admit(plan, approval, SIGNER, self.clock.now_ns())
        stored = self.cluster.objects[f"{FOLDS}/{plan.id}"]["status"]["receipts"][-1]
        assert stored["step"] == "intent"
        assert stored["inverse"]["rule_id"] == rule_id(plan.id)
        if self._fails("away"):
            raise ClusterAway("later")
        self.world[rule_id(plan.id)] = plan.fold.target
        if self._fails("apply"):
            raise ChangedMeanwhile("half done")
        return {"done": True} | ({"told": self.told} if self.told else {})

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        return {"holds": rule_id(plan.id) in self.world and not self.broken}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._fails("undo"):
            raise ClusterAway("not now")
        self.world.pop(inverse["rule_id"], None)
        return {"undone": True}

    def _fails(self, what: str) -> bool:
        if what in self.failing:
            self.failing.remove(what)
            return True
        return False


POLICY: Object = {
    "metadata": {"name": "tests"},
    "spec": {
        "mode": "autonomous",
        "when": {"patterns": ["*"]},
        "allow": [{"kind": "RECONFIGURE_NETWORK"}, {"kind": "SCALE_OUT"}],
        "verify": {"stableForSeconds": 3, "timeoutSeconds": 10},
        "ttl": {"maxSeconds": 900},
    },
}


TARGET: Object = {"metadata": {"uid": "u1", "namespace": "default", "name": "web-0"}}


@dataclasses.dataclass
class Stage:
    """One operator, one Fold."""

    cluster: FakeCluster
    driver: FakeDriver
    clock: ManualClock
    plan: Plan
    policies: list[Object]
    target: Object | None
    mode: Mode = Mode.AUTONOMOUS
    fence: Fence = dataclasses.field(default_factory=Fence)
    fault: Callable[[str], None] | None = None
    pods: tuple[Pod, ...] = ()
    probe: Callable[[Any, View, Plan], tuple[bool, str]] = lambda probe, view, plan: (False, "nobody knows")
    approvers: Approvers = dataclasses.field(default_factory=lambda: SharedKey(SIGNER))
    ledger: Ledger = unkept
    judged_s: float = 0.0  # that pass before the guards answer

    @property
    def path(self) -> str:
        return f"{FOLDS}/{self.plan.id}"

    @property
    def fold(self) -> Object:
        return self.cluster.objects[self.path]

    @property
    def phase(self) -> str:
        return str(self.fold.get("status", {}).get("phase", ""))

    @property
    def steps(self) -> list[str]:
        return [one["step"] for one in self.fold["status"].get("receipts", ())]

    def reconciler(self) -> Reconciler:
        """As a new process has it."""
        api = KubeApi(self.cluster.client(), clock=self.clock)
        pen = Pen(api, lambda: self.fence, clock=self.clock, fault=self.fault)
        world = World(
            driver=self.driver,
            pen=pen,
            deciders=self._decider,
            approvers=self.approvers,
            leave=self._leave,
            target=lambda plan: self.target,
            standing=lambda view: standing(view, all_counted(self._folds())[0], self.policies),
            probe=self.probe,
            remember=lambda plan_id, inverse: None,
            clock=self.clock,
            ledger=self.ledger,
            mode=self.mode,
        )
        return Reconciler(world, Carrier(world))

    def once(self) -> float | None:
        """One pass on the object as it is."""
        return self.reconciler().reconcile(json.loads(json.dumps(self.fold)))

    def until(self, phase: str, most: int = 60) -> None:
        """Passes and the waits that they ask for, until the Fold is in this phase."""
        for _ in range(most):
            if self.phase == phase:
                return
            self.clock.sleep(self.once() or 0)
        raise AssertionError(f"{self.phase}: {self.fold['status'].get('message')}")

    def note(self, notes: dict[str, str]) -> None:
        """Annotations, as a person sets them."""
        kept = self.fold["metadata"].get("annotations", {}) | {
            name.replace("_", "/"): text for name, text in notes.items()
        }
        self.cluster.put(self.path, self.fold | {"metadata": self.fold["metadata"] | {"annotations": kept}})

    def delete(self) -> None:
        """As `kubectl delete` does with a finalizer on it."""
        gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        self.cluster.put(self.path, self.fold | {"metadata": self.fold["metadata"] | gone})

    def _decider(self, mode: Mode) -> Decider:
        self.clock.sleep(self.judged_s)
        return a_decider(mode, clock=self.clock, signer=SIGNER, guards=_guards(mode))

    def _folds(self) -> list[Object]:
        return [obj for path, obj in self.cluster.objects.items() if path.startswith(FOLDS)]

    def _leave(self, view: View, plan: Plan) -> Leave | str:
        told, why = all_counted(self._folds())
        spot, now_ns = spot_of(plan.fold, self.target), self.clock.now_ns()
        there = Around("default", {}, {}, view.key, view.replaces, spot, told, self.pods, why, now_ns)
        return leave_for(plan, view.spec, self.policies, there)


def _guards(mode: Mode) -> tuple[Guard, ...]:
    """The standard ones; a machine that is busy is no refusal here."""
    return FloorGuard((), DeciderSettings().limits, mode), RegoGuard(timeout_s=60.0)


def a_stage(mode: Mode = Mode.AUTONOMOUS, **more: Any) -> Stage:
    """A Fold that drops a source for 300 seconds, posted and not looked at yet."""
    cluster, clock = FakeCluster(), a_clock()
    plan = more.pop("plan", None) or a_plan("drop", mode)
    stage = Stage(cluster, FakeDriver(cluster, clock), clock, plan, [POLICY], TARGET, **more)
    obj = fold_object(plan, "default")
    cluster.put(stage.path, obj | {"metadata": obj["metadata"] | {"generation": 1, "creationTimestamp": MADE}})
    return stage
