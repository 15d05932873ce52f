"""The operator at work: Folds and policies watched, passes when something changed or is due, one replica at a time.

Called by `services.folds.operating`. In: a client, a driver, guards, a name for this replica. Out: it runs until told
to stop. A pass that meets a passing fault is made again, later each time; every so often all Folds are passed over, and
objects that carry a plan without an open Fold are looked for: both find nothing to do when all is well.
"""

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from loomidi.contracts import LoomidiError, Mode, Plan, Retryable
from loomidi.contracts.ports import Driver
from loomidi.fold.operator.approving import Approvers
from loomidi.fold.operator.carrying import Carrier
from loomidi.fold.operator.climbing import standing
from loomidi.fold.operator.counting import with_count
from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.expecting import Habits
from loomidi.fold.operator.leading import Leadership
from loomidi.fold.operator.orphans import Orphan, orphans
from loomidi.fold.operator.overseeing import overseen
from loomidi.fold.operator.permitting import Hand
from loomidi.fold.operator.policing import Leave, leave_for
from loomidi.fold.operator.probing import ASKERS, Asker, probe
from loomidi.fold.operator.queues import Queue
from loomidi.fold.operator.reconciling import AT_ONCE, Reconciler
from loomidi.fold.operator.spots import slim_pod
from loomidi.fold.operator.surrounding import all_counted, around
from loomidi.fold.operator.sweeping import Keep, Sweeper, SweepSettings
from loomidi.fold.operator.targets import target_of
from loomidi.fold.operator.views import FOLDS, POLICIES, View
from loomidi.fold.operator.world import AtHand, Deciders, Ledger, World, unkept
from loomidi.fold.operator.writing import Pen
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.looking import LookingApi
from loomidi.ionic.errors import Clash
from loomidi.kit.clock import Clock, SystemClock
from loomidi.kit.logging import logger
from loomidi.loom.sources.shelves import Shelf

Object = dict[str, Any]
ENDING_S = 2.0  # that each thread gets to begin and to end
PODS = "/api/v1/pods"
_AT_A_STRETCH = (Phase.PROPOSED, Phase.GUARDED, Phase.APPROVED, Phase.APPLYING)  # what is verified lets others go first
TOLD_S = 1.0  # within which a policy's status follows its Folds, so that a hundred Folds are not a hundred writes
_LOG = logger("fold.operator")


class Books:
    """The inverses that lie in Folds, by plan: what the driver recalls."""

    def __init__(self) -> None:
        self._inverses: dict[str, Mapping[str, Any]] = {}

    def remember(self, plan_id: str, inverse: Mapping[str, Any]) -> None:
        """As the API server has it."""
        self._inverses = {plan_id: inverse}  # of the pass at hand and no other: a pass begins with telling it

    def recall(self, plan_id: str) -> Mapping[str, Any] | None:
        """None when it is not stored."""
        return self._inverses.get(plan_id)


@dataclasses.dataclass(frozen=True, slots=True)
class RunSettings:
    """How far it goes and how often it looks."""

    mode: Mode = Mode.SHADOW
    # The furthest that any Fold goes here, whatever its own mode and its policy's.
    resync_s: float = 300.0
    # Between two passes over everything.
    watched_s: int = 60
    # That one watch lasts, so that a dead connection is noticed.
    idle_s: float = 0.5
    # The longest sleep between two looks at the queue and the lease.
    sweep: SweepSettings = dataclasses.field(default_factory=SweepSettings)
    # Which Folds that are over are removed.
    at_hand: bool = False
    # Say on Fold and namespace what is at hand, as the policies of deployments/admission want it; two writes an effect.


class Operator:
    """One replica."""

    def __init__(
        self,
        client: httpx.Client,
        driver: Callable[[KubeApi, Books], Driver],
        deciders: Callable[[Callable[[], Mapping[str, int]]], Deciders],
        approvers: Approvers,
        leadership: Leadership,
        *,
        settings: RunSettings | None = None,
        askers: Mapping[str, Asker] = ASKERS,
        keep: Keep | None = None,
        ledger: Ledger = unkept,
        clock: Clock | None = None,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        """`client`: of its own, every write through it asks the lease. `deciders`: given a count of what is active.

        `askers`: who answers which kind of probe. `keep`: keeps the record of a Fold that is over, so that it may be
        removed; without it all stay. `ledger`: keeps what each approval was worth.
        """
        self._leadership, self._settings = leadership, settings or RunSettings()
        self._clock = clock or SystemClock()
        client.event_hooks["request"].append(self._fenced)
        self._api, self._queue = LookingApi(client), Queue()
        watched_s = self._settings.watched_s
        self._generations: dict[str, int] = {}
        self._folds = Shelf(client, FOLDS, self._fold_changed, watched_s, slim=with_count)
        self._policies = Shelf(client, POLICIES, self._policy_changed, watched_s)
        self._pods = Shelf(client, PODS, lambda _: None, watched_s, slim=slim_pod)
        self._replaced = ""  # key of the Fold whose place the one at hand takes
        self._at_hand, self._fence, self._habits = "", leadership.fence(), Habits()
        self._straight = False  # whether the Fold at hand comes to its intent by its first write
        self._stored: Object | None = None  # the Fold at hand as it was written last, or is passed over unwritten
        books = Books()
        hand = Hand(self._api, self._folds.put)
        self._hand: AtHand = hand.holding if self._settings.at_hand else contextlib.nullcontext
        self._driver = driver(self._api, books)
        world = World(
            driver=self._driver,
            pen=self._pen(fault),
            deciders=deciders(self._active),
            approvers=approvers,
            leave=self._leave,
            target=lambda plan: target_of(self._api, plan.fold),
            standing=lambda view: standing(view, all_counted(self._folds.all())[0], self._policies.all()),
            probe=lambda asked, view, plan: probe(asked, view, plan, self._folds.all(), self._api, askers=askers),
            remember=books.remember,
            clock=self._clock,
            ledger=ledger,
            mode=self._settings.mode,
            at_hand=self._hand,
            look_ahead=self._look_ahead,
        )
        self._reconciler = Reconciler(world, Carrier(world))
        self._sweeper = Sweeper(self._api, keep, self._settings.sweep)

    def _pen(self, fault: Callable[[str], None] | None) -> Pen:
        """Of whoever holds the lease now, telling us what is stored and what may be stored later."""
        return Pen(
            self._api, lambda: self._fence, clock=self._clock, fault=fault, told=self._written, passed=self._passed
        )

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        keepers = (self._leadership.keep, self._folds.keep, self._policies.keep, self._pods.keep)
        threads = [threading.Thread(target=keeper, args=(stop,), daemon=True) for keeper in keepers]
        for thread in threads:
            thread.start()
        self._pods.filled.wait(
            ENDING_S
        )  # brakes count them; without them what is in force is looked after all the same
        try:
            self._work(stop)
        finally:
            stop.set()
            for thread in threads:  # the lease first, so that another may go on; who only watches may be left behind
                thread.join(ENDING_S)

    def _work(self, stop: threading.Event) -> None:
        led, resync_s, sweep_s = False, 0.0, 0.0
        while not stop.is_set():
            if not self._leadership.leading or not (self._folds.filled.is_set() and self._policies.filled.is_set()):
                led = False
                stop.wait(self._settings.idle_s / 10)
                continue
            now_s = self._clock.monotonic_ns() / 1e9
            if not led or now_s >= resync_s:
                led, resync_s = self._resync(), now_s + self._settings.resync_s
            if led and now_s >= sweep_s:
                sweep_s = now_s + self._sweeper.every_s
                self._sweep()
            if not led:
                stop.wait(self._settings.idle_s)
            elif (key := self._queue.take(self._settings.idle_s)) is not None:
                self.pass_over(key)

    def ready(self) -> list[str]:
        """Why this replica could not act if it were its turn, one line each; empty: it could."""
        shelves = {"Folds": self._folds, "FoldPolicies": self._policies}
        reasons = [f"{name} are not listed yet" for name, shelf in shelves.items() if not shelf.filled.is_set()]
        return reasons if self._leadership.known else [*reasons, "the lease could not be asked for yet"]

    @property
    def leading(self) -> bool:
        """Whether it is this replica that acts."""
        return self._leadership.leading

    def swept(self) -> Mapping[str, int]:
        """What became of Folds that are over and old: removed, not_kept, not_removed."""
        return self._sweeper.counts

    def phases(self) -> Mapping[str, int]:
        """How many Folds are where; `none` before the first pass."""
        return Counter(str(View(obj).phase or "none") for obj in self._folds.all())

    def pass_over(self, key: str) -> None:
        """Passes over one Fold or policy, and when to come again."""
        self._fence = self._leadership.fence()  # one token for the whole pass
        space, _, name = key.partition("/")
        try:
            again = self._fold_passed(key, space, name) if space else self._policy_passed(name)
        except (Clash, Retryable) as error:
            _LOG.info("a pass is made again", of=key, error=str(error))
            self._queue.again(key)
        except NotLeading as error:
            _LOG.warning("a pass ended", of=key, error=str(error))
            self._queue.again(key)  # the lease may be ours again before anybody has seen that it was not
        except Exception as error:  # noqa: BLE001 - one Fold that breaks us must not keep the others waiting
            _LOG.error("a pass failed", of=key, error=f"{type(error).__name__}: {error}")
            self._queue.again(key)
        else:
            self._queue.done(key, again)

    def _fold_passed(self, key: str, space: str, name: str) -> float | None:
        """One pass after the other, each over the Fold as the one before has stored it, until its effect is on record
        or it has to wait. What was seen while it was judged serves up to the intent; who acts looks again, unless
        nothing but that one write lies between (ADR 0098)."""
        self._at_hand, self._straight, again = key, False, None
        with self._api.look():
            path = f"{FOLDS.rpartition('/')[0]}/namespaces/{space}/folds/{name}"
            obj = self._told(key) or self._api.get(path)
            while obj is not None:
                self._replaced = View(obj).replaces
                if View(obj).begun and not self._straight:
                    self._api.look_again()
                self._straight, self._stored = False, None
                again = self._reconciler.reconcile(obj)
                obj = self._next() if again == AT_ONCE else None
        return again

    def _told(self, key: str) -> Object | None:
        """A Fold that nobody has passed over yet, as the watch has just told it: whoever has changed it since makes our
        first write clash, and the pass that follows reads it."""
        obj = self._folds.get(key)
        return None if obj is None or View(obj).phase is not None or self._queue.failed(key) else obj

    def _look_ahead(self, view: View) -> None:
        """For the guards' first look what its kind is known to make us read, for the second what the first one saw."""
        if view.phase is None:
            self._api.look_ahead(self._habits.of(view))
            return
        self._habits.note(view, self._api.asked)
        self._straight = view.unwritten
        if not self._straight:
            self._api.look_ahead(self._api.asked)

    def _next(self) -> Object | None:
        """The Fold as a pass has just stored it, where the next pass need not wait."""
        stored = self._stored
        return stored if stored is not None and View(stored).phase in _AT_A_STRETCH else None

    def _passed(self, obj: Object) -> bool:
        """The pass that follows goes on with it; where the last one came to nothing, each step is seen by itself."""
        if self._queue.failed(self._at_hand):
            return False
        self._stored = obj
        return True

    def _written(self, obj: Object) -> None:
        self._stored = obj
        self._folds.put(obj)

    def _policy_passed(self, name: str) -> float | None:
        """Its status, written when it says something else than before."""
        policy = next((one for one in self._policies.all() if one["metadata"]["name"] == name), None)
        if policy is None:
            return None
        status, again = overseen(policy, *all_counted(self._folds.all()), self._clock.now_ns())
        if status != policy.get("status"):
            change = [{"op": "add", "path": "/status", "value": status}]
            version = policy["metadata"]["resourceVersion"]
            self._policies.put(self._api.patch(f"{POLICIES}/{name}/status", change, version))
        return again

    def _resync(self) -> bool:
        """Look at everything; False when it could not be listed. A list of our own comes first: brakes count by it, and
        what the replica before us wrote last may not have been told yet."""
        self._fence = self._leadership.fence()
        try:
            self._folds.fill()
        except (LoomidiError, httpx.HTTPError, ValueError, KeyError) as error:
            _LOG.info("the Folds could not be listed", error=str(error))
            return False
        self._all()
        with contextlib.suppress(LoomidiError):
            for one in orphans(self._api, self._folds.all(), self._driver, self._hand):
                _tell(one)
        return True

    def _sweep(self) -> None:
        """Remove what is over and old; a lease that is lost in the middle ends it."""
        self._fence = self._leadership.fence()
        with contextlib.suppress(NotLeading):
            self._sweeper.sweep(self._folds.all(), self._policies.all(), self._clock.now_ns())

    def _all(self) -> None:
        for obj in self._folds.all():
            self._queue.add(View(obj).key)
        for policy in self._policies.all():
            self._queue.add(f"/{policy['metadata']['name']}")

    def _fold_changed(self, key: str) -> None:
        """Pass over it; a little later over policies and, once it has ended, over those that a brake holds."""
        self._queue.add(key)
        views = {view.key: view for view in map(View, self._folds.all())}
        if key in views and views[key].replaces:
            self._queue.add(views[key].replaces)
        if key not in views or views[key].over:
            for view in views.values():
                if view.holding and not view.over:
                    self._queue.later(view.key, TOLD_S)
        for policy in self._policies.all():
            self._queue.later(f"/{policy['metadata']['name']}", TOLD_S)

    def _policy_changed(self, key: str) -> None:
        """Its status is ours: only what a person changed is a reason to look at every Fold."""
        now = {f"/{one['metadata']['name']}": one["metadata"].get("generation", 0) for one in self._policies.all()}
        if now.get(key) != self._generations.get(key):
            self._generations = now
            self._all()

    def _fenced(self, request: httpx.Request) -> None:
        """The last look before a write leaves: also one in the middle of a driver's work."""
        if request.method != "GET":
            self._fence.check()

    def _active(self) -> Mapping[str, int]:
        """Folds that are at work, by target, without the one at hand. What was begun was read whole then."""
        apart = {self._at_hand, self._replaced}  # the one whose place it takes is not counted beside it
        views = [view for view in map(View, self._folds.all()) if view.begun and view.key not in apart]
        return Counter(str(view.spec["target"]) for view in views)

    def _leave(self, view: View, plan: Plan) -> Leave | str:
        pods = self._pods.all() if self._pods.filled.is_set() else None
        there = around(self._api, view, plan, self._folds.all(), pods, now_ns=self._clock.now_ns())
        return leave_for(plan, view.spec, self._policies.all(), there)


def _tell(one: Orphan) -> None:
    _LOG.warning("an object carries a plan without an open Fold", path=one.path, plan=one.plan, done=one.done)
