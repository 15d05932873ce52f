"""Folds with whatever goes wrong, on a real API server: taken back, everything is as it was by diff.

Busy answers, server errors, requests and answers that are lost, others who write in between, and a process that ends
at any of its requests.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from loomidi.contracts import LoomidiError
from loomidi.ionic.act.kube import KubeApi, KubeDriver
from loomidi.ionic.documents import rule_id
from tests.integration.kube.cases import CASES, plan_of
from tests.integration.kube.rooms import Killed, Room
from tests.unit.ionic.acting import approved

ROUNDS = int(os.environ.get("LOOMIDI_FAULT_ROUNDS", "7"))  # for each of the nine cases; 23 for an acceptance
MOST_UNDOS = 60


class FlakyClient:
    """Asks the real server, most of the time."""

    def __init__(self, client: httpx.Client, dice: random.Random, meddle: Callable[[], None]) -> None:
        self._client, self._dice, self._meddle = client, dice, meddle
        self.met: Counter[str] = Counter()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        what = self._dice.choices(("well", "busy", "lost", "unanswered", "meddled", "killed"), (80, 8, 4, 4, 6, 2))[0]
        self.met[what] += 1
        asked = httpx.Request(method, f"http://flaky{path}")
        if what == "busy":
            return httpx.Response(self._dice.choice((429, 500, 503)), json={"message": "later"}, request=asked)
        if what == "lost":
            raise httpx.ConnectTimeout("never sent")
        if what == "killed":
            raise Killed(path)
        if what == "meddled":
            self._meddle()
        response = self._client.request(method, path, **more)
        if what == "unanswered":
            raise httpx.ReadTimeout("done, and nobody knows")
        return response


class Flaky:
    """A room whose API is flaky, and an object in it that somebody else keeps labelling."""

    def __init__(self, room: Room, seed: str) -> None:
        self.room, self.dice = room, random.Random(seed)
        self.path = ""
        self.client = FlakyClient(room._client, self.dice, self._meddle)

    def driver(self) -> KubeDriver:
        """A new process."""
        return self.room.new_driver(KubeApi(self.client, clock=self.room.clock))  # type: ignore[arg-type]

    def _meddle(self) -> None:
        if self.path:
            self.room.merge(self.path, {"metadata": {"labels": {"others": str(self.dice.randrange(9))}}})

    def settle(self, inverse: Mapping[str, Any]) -> None:
        """As after restarts: new processes try until one has taken it back."""
        for _ in range(MOST_UNDOS):
            try:
                if self.driver().undo(json.loads(json.dumps(inverse)))["undone"]:
                    return
            except (LoomidiError, Killed):
                continue
        pytest.fail(f"not taken back in {MOST_UNDOS} tries")

    def quiet(self) -> None:
        """Somebody else takes the own label away again."""
        if self.path:
            self.room.merge(self.path, {"metadata": {"labels": {"others": None}}})


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_whatever_goes_wrong_the_undo_puts_everything_back(room: Room, name: str) -> None:
    CASES[name].stage(room)
    flaky, before = Flaky(room, name), room.snapshot()
    ended: Counter[str] = Counter()
    for _ in range(ROUNDS):
        room.clock.move(1_000_000_000)
        ended[one_fold(flaky, name)] += 1
        assert room.snapshot() == before, ended
    assert flaky.client.met["killed"] + flaky.client.met["unanswered"] > 0
    assert ended["done"] > 0, ended  # how many is the draw's: faults meet every request alike


def one_fold(flaky: Flaky, name: str) -> str:
    """Begin, perhaps finish, and take back; how far it came."""
    plan = plan_of(CASES[name].fold(flaky.room))
    driver, ended = flaky.driver(), "not begun"
    try:
        inverse = json.loads(json.dumps(dict(driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}))
    except (LoomidiError, Killed):
        return ended
    flaky.path = next((one["path"] for one in inverse["changes"] if one["change"] == "edit"), "")
    try:
        driver.apply(plan, approved(plan))
        ended = "done"
        assert flaky.room.driver.verify(plan) is not None
    except (LoomidiError, Killed):
        ended = "broken off"
    flaky.settle(inverse)
    flaky.quiet()
    flaky.path = ""
    return ended
