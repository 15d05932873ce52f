"""The fast lane over real XDP in network namespaces: real floods, real clients, a real kill -9."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import EnvironmentLacks, Step
from loomidi.ionic.act import SqliteReceipts
from loomidi.loom.capture import detach
from loomidi.services.demo.attacks import PROTECTED, Attack, attacks, forged_at_random, forged_for_protected
from loomidi.services.demo.stage import Attacker, Defender, People
from loomidi.services.demo.testbed import ATTACKERS, WEB, Network, sweep

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

OWN = [attack for attack in attacks() if not attack.tool]
FLOOD = OWN[0].order | {"seconds": 0.6}


class Scene:
    """A network with services, clients, an attacker and a defender."""

    def __init__(self, network: Network, folder: Path, **config: Any) -> None:
        self.network, self.folder = network, folder
        self.receipts = folder / "receipts.sqlite"
        self.people = People(network)
        self.attacker = Attacker(network)
        self.defender = self.defend(**config)

    def defend(self, **config: Any) -> Defender:
        given = {"receipts": str(self.receipts), "protected": PROTECTED, "judge_s": 1.5} | config
        return Defender(self.network, given)

    def wait_for(self, target: str, seconds: float = 10.0) -> dict[str, Any] | None:
        return self.defender.wait(lambda d: d["target"] == target and d["decision"] == "applied", seconds)

    def steps(self) -> list[Step]:
        return [receipt.step for receipt in SqliteReceipts(self.receipts, read_only=True).all()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Network() as network:
        yield Scene(network, tmp_path_factory.mktemp("scene"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    with Network() as network:
        yield lambda **config: Scene(network, tmp_path, **config)
        with network.inside("node"):
            detach(network.interface)


@pytest.mark.parametrize("attack", OWN, ids=[attack.title for attack in OWN])
def test_each_attack_is_stopped_at_its_source(scene: Scene, attack: Attack) -> None:
    scene.attacker.does(attack.order)
    found = [scene.wait_for(culprit) for culprit in attack.culprits]
    assert all(found), f"nothing was done about {attack.culprits}"
    assert {decision["pattern"] for decision in found if decision} == {attack.pattern}


@pytest.mark.parametrize("source", PROTECTED)
def test_the_protected_are_never_touched(scene: Scene, source: str) -> None:
    scene.attacker.does(forged_for_protected(source).order)
    refused = scene.defender.wait(lambda d: d["target"] == f"host/{source}", 5.0)
    assert refused
    assert refused["decision"] == "refused"
    assert scene.defender.entry(source) is None


def test_a_flood_of_forged_sources_is_slowed_by_its_network(scene: Scene) -> None:
    attack = forged_at_random()
    scene.attacker.does(attack.order)
    found = scene.defender.wait(
        lambda d: str(d["target"]).startswith(attack.culprits[0]) and d["decision"] == "applied", 12.0
    )
    assert found
    assert found["action"] == "rate"


def test_nobody_else_was_touched_and_no_request_was_lost(scene: Scene) -> None:
    figures = scene.people.finish()
    acted_on = {d["target"] for d in scene.defender.decisions if d["decision"] == "applied"}
    assert figures["sent"] > 0
    assert figures["lost"] == 0
    assert not [target for target in acted_on if "192.0.2." in target or "2001:db8:1:" in target]


def test_shadow_touches_nothing(fresh: Callable[..., Scene]) -> None:
    scene = fresh(mode="shadow")
    scene.attacker.does(FLOOD)
    assert scene.defender.wait(lambda d: d["decision"] == "would", 5.0)
    assert scene.defender.ask({"do": "entries"})["entries"] == []
    counters = scene.defender.ask({"do": "counters"})["counters"]
    assert sum(count for reason, count in counters.items() if reason.startswith("drop_")) == 0
    scene.defender.end()
    assert Step.APPLIED not in scene.steps()


def test_a_killed_lane_leaves_its_entry_in_force_until_its_time_is_over(fresh: Callable[..., Scene]) -> None:
    scene = fresh(pinned=True, longest_ttl_s=4.0)
    scene.attacker.does(FLOOD)
    decision = scene.wait_for(f"host/{ATTACKERS[0]}")
    assert decision
    scene.attacker.does(FLOOD | {"seconds": 1.6})  # goes on: dropped, no longer slowed
    scene.defender.process.kill()
    scene.defender.process.wait()
    assert not scene.attacker.passes(ATTACKERS[0], WEB), "the kernel holds the block without the lane"
    time.sleep(5.0)
    assert scene.attacker.passes(ATTACKERS[0], WEB), "the entry ended by itself"


def test_a_restart_adopts_and_receipts_what_a_crash_left(fresh: Callable[..., Scene]) -> None:
    scene = fresh(pinned=True)
    scene.attacker.does(FLOOD)
    assert scene.wait_for(f"host/{ATTACKERS[0]}")
    scene.defender.process.kill()
    scene.defender.process.wait()
    scene.receipts = scene.folder / "after.sqlite"  # the disk never saw the receipt
    scene.defender = scene.defend(pinned=True)
    assert scene.defender.decisions_of("adopted") == [f"host/{ATTACKERS[0]}"]
    assert scene.steps() == [Step.APPLIED]
    scene.defender.ask({"do": "undo", "target": f"host/{ATTACKERS[0]}"})
    assert scene.defender.wait(lambda d: d["decision"] == "undone", 5.0)
    assert scene.attacker.passes(ATTACKERS[0], WEB)


def test_rooms_of_a_dead_run_are_swept() -> None:
    from pyroute2 import netns

    netns.create("loomidi-4194999-0-web")  # beyond the highest process id
    assert "loomidi-4194999-0-web" in sweep()
    assert "loomidi-4194999-0-web" not in netns.listnetns()


def test_two_networks_stand_side_by_side() -> None:
    with Network() as one, Network() as other:
        assert one.interface != other.interface
        assert not set(map(one.name_of, ("node", "web"))) & set(map(other.name_of, ("node", "web")))


def test_a_shield_that_cannot_be_attached_is_one_reason(tmp_path: Path) -> None:
    with Network() as network, pytest.raises(EnvironmentLacks, match="no interface nowhere0"):
        Defender(network, {"receipts": str(tmp_path / "r.sqlite"), "interface": "nowhere0"})
