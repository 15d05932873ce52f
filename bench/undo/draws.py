"""What is folded, and what it meets: drawn by a seed, every kind that has a way back, one fold on a target at a time.

Called by bench/fold_undo.py. In: a seed, a round, which pods a workload has now. Out: draws; a fold of each.
"""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from bench.undo.populations import LONE, OUTSIDE, SPACE
from loomidi.contracts import FoldKind, FoldSpec, Match
from loomidi.ionic.decide import manifests

FAULTS = {  # with how often it is drawn: a node takes its pods along, so it starts anew less often
    "api busy": 4,
    "conflict": 4,
    "watch drop": 4,
    "silent webhook": 4,
    "operator kill": 4,
    "agent kill": 4,
    "node restart": 2,
    "clock jump": 4,
}
ROUND = 20  # folds at once
POLICED = "203.0.113.77"  # a source that a policy of the API denies as well
_WITHIN_S = 35.0  # in which all of a round are proposed


@dataclasses.dataclass(frozen=True, slots=True)
class Draw:
    """One fold and what happens to it."""

    kind: FoldKind
    target: str  # one of the population, `Draw.fold` makes an entity of it
    fault: str
    start_s: float  # after the round began
    moment: (
        str  # when the fault comes: `begin`, after it was proposed; `held`, after it was in force; `end`, about its end
    )
    fault_s: float  # after that moment, or before
    ends: str  # ttl, or release
    lasts_s: int  # its ttl, or how long it is in force until it is released
    node: str  # what a fault of a node meets
    seed: int  # of whatever the fault draws itself

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind.value} {self.target}"


def drawn(seed: int, number: int) -> list[Draw]:
    """A round."""
    dice = random.Random(f"{seed} {number}")
    slots = [(dice.choice(kinds), target) for target, kinds in _slots(dice).items()]
    return [_draw(dice, kind, target) for kind, target in dice.sample(slots, ROUND)]


def _slots(dice: random.Random) -> dict[str, tuple[FoldKind, ...]]:
    """Every target with what may be done to it."""
    lone = dict.fromkeys(LONE, (FoldKind.ISOLATE_POD, FoldKind.RESIZE))
    sources = dict.fromkeys(dice.sample(OUTSIDE, 7), (FoldKind.RECONFIGURE_NETWORK,))
    return {
        **lone,
        **sources,
        "front": (FoldKind.ISOLATE_POD,),
        "policy": (FoldKind.RECONFIGURE_NETWORK,),
        "scaled": (FoldKind.SCALE_OUT,),
        "ruled": (FoldKind.SCALE_OUT,),
        "db": (FoldKind.SCALE_OUT, FoldKind.RESTART),
        "restarted": (FoldKind.RESTART, FoldKind.RESTART, FoldKind.SCALE_OUT),
        "rolled": (FoldKind.ROLLBACK,),
        dice.choice(("n1", "n2")): (FoldKind.CORDON,),
    }


def _draw(dice: random.Random, kind: FoldKind, target: str) -> Draw:
    ends = dice.choice(("ttl", "release", "release"))  # a ttl runs from the intent: a busy machine lets some end early
    lasts_s = dice.randint(30, 40) if ends == "ttl" else dice.randint(4, 10)
    moments = {"begin": dice.uniform(0, 3), "held": dice.uniform(0, 4), "end": dice.uniform(-1, 0.2)}
    moment = dice.choice(list(moments))
    (fault,) = dice.choices(list(FAULTS), list(FAULTS.values()))
    start_s = dice.uniform(0, _WITHIN_S)
    node = target if kind is FoldKind.CORDON else LONE.get(target, dice.choice(("n1", "n2")))
    seed = dice.randrange(2**32)
    return Draw(kind, target, fault, start_s, moment, moments[moment], ends, lasts_s, node, seed)


def fold_of(draw: Draw, pods: Callable[[str], list[dict[str, Any]]]) -> FoldSpec:
    """`pods`: of a workload, as they are now."""
    ttl_s = float(draw.lasts_s if draw.ends == "ttl" else 300)
    dice = random.Random(draw.seed)
    if draw.kind is FoldKind.ISOLATE_POD:
        name = draw.target if draw.target in LONE else dice.choice(pods(draw.target))["metadata"]["name"]
        made = FoldSpec(draw.kind, f"pod/{SPACE}/{name}", "isolate")
    elif draw.kind is FoldKind.RESIZE:
        made = _resize(draw, dice)
    elif draw.kind is FoldKind.RECONFIGURE_NETWORK:
        made = _deny(draw, dice)
    elif draw.kind is FoldKind.CORDON:
        made = FoldSpec(draw.kind, f"node/{draw.target}", "cordon")
    else:
        action = {FoldKind.SCALE_OUT: "scale"}.get(draw.kind, draw.kind.value.lower())
        target = f"workload/{SPACE}/{draw.target}"
        made = FoldSpec(draw.kind, target, action, replicas=int(action == "scale"))
    return dataclasses.replace(made, ttl_s=ttl_s)


def _resize(draw: Draw, dice: random.Random) -> FoldSpec:
    resources = {"requests": {"cpu": f"{dice.choice((15, 20))}m"}, "limits": {"cpu": "600m", "memory": "160Mi"}}
    spec = {"containers": [{"name": "main", "resources": resources}]}
    metadata = {"name": draw.target, "namespace": SPACE}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return FoldSpec(draw.kind, f"pod/{SPACE}/{draw.target}", "resize", manifest=manifest)


def _deny(draw: Draw, dice: random.Random) -> FoldSpec:
    """A source on the nodes, dropped or slowed down; or one that is dropped by a policy too."""
    source = POLICED if draw.target == "policy" else draw.target
    if draw.target == "policy":
        policy = manifests.network_policy("fold-undo-drop", "ingress", [source], {"loomidi.io/action": "drop"})
        policy["metadata"]["namespace"] = SPACE
        policy["spec"]["podSelector"] = {"matchLabels": {"app": "scaled"}}
        return FoldSpec(draw.kind, f"host/{source}", "drop", Match(source=source), manifest=policy)
    rate = {"rate_pps": 1, "burst": 1} if dice.random() < 0.3 else {}
    return FoldSpec(draw.kind, f"host/{source}", "rate" if rate else "drop", Match(source=source), **rate)
