"""From a plan file and a seed to a schedule: which scenario when, with which parameters; pure.

Called by the recorder and by `verifying`, which makes the schedule anew and compares. In: a plan (length, quiet spans,
load, scenarios, lanes), a seed. Out: `Schedule`. Two acts never overlap when one would disturb the other (`disturbs`).
"""

import dataclasses
import difflib
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from loomidi.contracts.errors import InputError, UsageError
from loomidi_lab import staging
from loomidi_lab.staging import Drawn, Scenario

PLANS = Path(__file__).resolve().parent / "plans"
CATEGORIES = ("attack", "failure", "benign")
GRID_S = 1.0
_DRAWS = 64
_KEYS = ("name", "title", "length_s", "quiet", "load", "lanes", "clear", "scenarios", "network")
_WIDE_KINDS = frozenset({"Node", "Namespace", "Cluster"})
_WIDE_NAMES = frozenset({"kube-dns", "coredns"})


class BadPlan(InputError):
    """A plan file that cannot be used; the text names the file, the key and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Seconds from the start of the schedule."""

    from_s: float
    to_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """One line under `scenarios`."""

    names: tuple[str, ...] = ()
    category: str = ""
    per: str = "scenario"  # `times` of every scenario, every family, or of the whole line (`pick`)
    times: int = 1
    most_s: float = math.inf  # parameters are drawn anew until the act is no longer than this
    wide: bool = True  # whether what touches a whole node or the cluster's DNS may be taken


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A plan file that has been checked."""

    name: str
    title: str
    length_s: float
    quiet: tuple[Span, ...]
    load: Mapping[str, Any]  # as the load generator takes it
    lanes: Mapping[str, int]  # category -> acts at the same time, at most
    before_s: float  # kept free before an act, for its set-up
    after_s: float  # and behind it, for undoing and for things to calm down
    wishes: tuple[Wish, ...]
    network: str = "bridge"
    document: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # as written


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One occurrence as planned."""

    offset_s: float  # of the act's start
    scenario: str
    seed: int
    duration_s: float
    planned: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As it stands in schedule.json."""
        return {name: getattr(self, name) for name in ("offset_s", "scenario", "seed", "duration_s")}


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """What a recording does when; the same for the same plan and seed."""

    plan: Plan
    seed: int
    items: tuple[Item, ...]  # by offset

    def as_dict(self) -> dict[str, Any]:
        """As it stands in schedule.json."""
        plan = self.plan
        return {
            "plan": plan.name,
            "seed": self.seed,
            "length_s": plan.length_s,
            "quiet": [dataclasses.asdict(span) for span in plan.quiet],
            "load": dict(plan.load),
            "items": [item.as_dict() for item in self.items],
            "definition": dict(plan.document),
        }

    def planned(self) -> list[dict[str, Any]]:
        """The planned half of the truth."""
        return [dict(item.planned) | {"offset_s": item.offset_s} for item in self.items]


class Catalog(Protocol):
    """Where scenarios come from; `loomidi_lab.staging` is one."""

    def names(self) -> list[str]:
        """All there are."""

    def load(self, name: str) -> Scenario:
        """One of them."""

    def draw(self, scenario: Scenario, seed: int) -> Drawn:
        """Its parameters."""


_STAGING: Catalog = staging


# ---- plan files


def plan_names(folder: Path = PLANS) -> list[str]:
    """Plans that come with the lab."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_plan(name: str, folder: Path = PLANS) -> Plan:
    """By name, or by path when it ends in .yaml. Raises UsageError or BadPlan with one line."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        near = difflib.get_close_matches(name, plan_names(folder), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"use {', '.join(plan_names(folder))} or a file ending in .yaml"
        raise UsageError(f"there is no plan {name!r}; {hint}") from error
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError) as error:
        raise BadPlan(f"{path.name} is no YAML: {' '.join(str(error).split())}") from error
    return parse_plan(document, path.name)


def parse_plan(document: Any, where: str) -> Plan:
    """Raises BadPlan for the first thing that is wrong."""
    reader = _Reader(document, where, _KEYS)
    length_s = reader.number("length_s", least=10)
    clear = _Reader(reader.take("clear", {}), f"{where}: clear", ("before_s", "after_s"))
    plan = Plan(
        name=reader.text("name"),
        title=reader.text("title", ""),
        length_s=length_s,
        quiet=tuple(_spans(reader.take("quiet", []), length_s, where)),
        load=reader.mapping("load"),
        lanes=_lanes(reader.take("lanes", {}), where),
        before_s=clear.number("before_s", 10.0),
        after_s=clear.number("after_s", 15.0),
        wishes=tuple(_wish(each, f"{where}: scenarios[{n}]") for n, each in enumerate(reader.sequence("scenarios"))),
        network=reader.text("network", "bridge"),
        document=document,
    )
    if plan.network not in ("bridge", "cilium"):
        raise BadPlan(f"{where}: network {plan.network!r} is not known; use bridge or cilium")
    return plan


class _Reader:
    """One mapping of a plan file; complains in one line."""

    def __init__(self, document: Any, where: str, keys: Sequence[str]) -> None:
        if not isinstance(document, Mapping):
            raise BadPlan(f"{where}: expected `key: value` lines, found {type(document).__name__}")
        for key in document:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"use one of: {', '.join(keys)}"
                raise BadPlan(f"{where}: unknown key `{key}`; {hint}")
        self._document, self._where = document, where

    def take(self, key: str, default: Any = None) -> Any:
        if key not in self._document and default is None:
            raise BadPlan(f"{self._where}: `{key}` is missing; add it")
        return self._document.get(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        found = self.take(key, default)
        if not isinstance(found, str):
            raise BadPlan(f"{self._where}: `{key}` must be a text, found {found!r}")
        return found

    def number(self, key: str, default: float | None = None, least: float = 0.0) -> float:
        found = self.take(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not found >= least:
            raise BadPlan(f"{self._where}: `{key}` must be a number of at least {least:g}, found {found!r}")
        return float(found)

    def mapping(self, key: str) -> Mapping[str, Any]:
        found = self.take(key)
        if not isinstance(found, Mapping):
            raise BadPlan(f"{self._where}: `{key}` must be a mapping, found {found!r}")
        return found

    def sequence(self, key: str) -> Sequence[Any]:
        found = self.take(key)
        if not isinstance(found, list):
            raise BadPlan(f"{self._where}: `{key}` must be a list, found {found!r}")
        return found


def _spans(found: Any, length_s: float, where: str) -> Iterable[Span]:
    end = 0.0
    for number, each in enumerate(found if isinstance(found, list) else [found]):
        reader = _Reader(each, f"{where}: quiet[{number}]", ("from_s", "to_s"))
        span = Span(reader.number("from_s"), reader.number("to_s"))
        if not end <= span.from_s < span.to_s <= length_s:
            wanted = f"spans in order, apart, within 0 to {length_s:g} s"
            raise BadPlan(f"{where}: quiet[{number}] goes from {span.from_s:g} to {span.to_s:g}; give {wanted}")
        end = span.to_s
        yield span


def _lanes(found: Any, where: str) -> dict[str, int]:
    reader = _Reader(found, f"{where}: lanes", CATEGORIES)
    return {category: int(reader.number(category, 1, least=1)) for category in CATEGORIES}


def _wish(found: Any, where: str) -> Wish:
    keys = ("names", "category", "per", "times", "most_s", "wide")
    reader = _Reader(found, where, keys)
    names, category, per = reader.take("names", []), reader.text("category", ""), reader.text("per", "scenario")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadPlan(f"{where}: `names` must be a list of scenario names, found {names!r}")
    if bool(names) == bool(category):
        raise BadPlan(f"{where}: give either `names` or `category`")
    if category and category not in CATEGORIES:
        raise BadPlan(f"{where}: category {category!r} is not known; use {', '.join(CATEGORIES)}")
    if per not in ("scenario", "family", "line"):
        raise BadPlan(f"{where}: per {per!r} is not known; use scenario, family or line")
    wide = reader.take("wide", True)
    if not isinstance(wide, bool):
        raise BadPlan(f"{where}: `wide` must be true or false, found {wide!r}")
    most_s = reader.number("most_s", math.inf)
    return Wish(tuple(names), category, per, int(reader.number("times", 1, least=1)), most_s, wide)


# ---- schedules


def schedule(plan: Plan, seed: int, catalog: Catalog = _STAGING) -> Schedule:
    """Place everything the plan asks for. Raises BadPlan when it does not fit."""
    wanted = list(_wanted(plan, seed, catalog))
    order = sorted(wanted, key=lambda drawn: (not wide(drawn), -drawn.duration_s, _hash(seed, _label(drawn))))
    left = 0
    for packed in (_nothing, _bottleneck, _everything):
        placed, left = _placed(plan, seed, order, packed)
        if not left:
            items = sorted(placed, key=lambda pair: (pair[0], pair[1].scenario.name))
            return Schedule(plan, seed, tuple(_item(offset_s, drawn) for offset_s, drawn in items))
    raise BadPlan(
        f"plan {plan.name}: {left} of {len(order)} acts find no room in {plan.length_s:g} s; make it longer"
        " or less quiet, or ask for fewer"
    )


def _nothing(_drawn: Drawn) -> bool:
    """First try: every act anywhere there is room, by seed."""
    return False


def _bottleneck(drawn: Drawn) -> bool:
    """Second try: what can overlap least goes as early as it can, the rest anywhere."""
    return wide(drawn) or drawn.scenario.category == "failure"


def _everything(_drawn: Drawn) -> bool:
    """Last try: as early as it can."""
    return True


def wide(drawn: Drawn) -> bool:
    """Whether it takes a whole node, or what everybody uses: then nothing else runs beside it. Attacks only look."""
    entities = (*drawn.victims, *drawn.sources)
    taken = any(entity.kind in _WIDE_KINDS or entity.name in _WIDE_NAMES for entity in entities)
    return taken and drawn.scenario.category != "attack"


def disturbs(one: Drawn, other: Drawn) -> str:
    """Why the two must not overlap; empty when they may."""
    if wide(one) or wide(other):
        return "one takes a whole node or the cluster's DNS"
    if one.scenario.family == other.scenario.family:
        return f"both are of the family {one.scenario.family}"
    if "failure" in (one.scenario.category, other.scenario.category) and _loads(one) and _loads(other):
        return "both load the machine"
    if (_counts_errors(one) and _hurts(other)) or (_counts_errors(other) and _hurts(one)):
        return "one must leave the users without errors, the other makes some"
    shared = _parts(one) & _parts(other)
    return f"both touch {' '.join(sorted(f'{a}/{b}' for a, b in shared))}" if shared else ""


def _counts_errors(drawn: Drawn) -> bool:
    return any("load" in symptom for symptom in drawn.symptoms)


def _hurts(drawn: Drawn) -> bool:
    """Whether users of the shop may notice it."""
    return drawn.scenario.category != "benign" and any(victim.namespace == "shop" for victim in drawn.victims)


def _loads(drawn: Drawn) -> bool:
    words = f"{drawn.scenario.family} {drawn.scenario.kind} {drawn.scenario.name}"
    return any(word in words for word in ("cpu", "flood", "load", "miner", "noisy", "pressure"))


def _parts(drawn: Drawn) -> set[tuple[str, str]]:
    """Workloads by name: a Service and the Deployment behind it are the same thing here."""
    entities = (*drawn.victims, *drawn.sources)
    return {(entity.namespace, entity.name) for entity in entities if entity.kind != "External"}


def _wanted(plan: Plan, seed: int, catalog: Catalog) -> Iterable[Drawn]:
    everything = [catalog.load(name) for name in catalog.names()]
    usable = [s for s in everything if plan.network in (s.needs.get("network") or [plan.network])]
    for number, wish in enumerate(plan.wishes):
        offered = [catalog.load(name) for name in wish.names] or [s for s in usable if s.category == wish.category]
        if not wish.wide:
            offered = [s for s in offered if not wide(catalog.draw(s, seed))]
        if not offered:
            raise BadPlan(f"plan {plan.name}: no scenario fits scenarios[{number}]; see `loomidi-lab scenarios`")
        for scenario, turn in _turns(wish, offered, f"{plan.name} {seed} {number}"):
            yield _drawn(catalog, scenario, wish.most_s, f"{plan.name}\0{seed}\0{number}\0{scenario.name}\0{turn}")


def _turns(wish: Wish, offered: Sequence[Scenario], salt: str) -> Iterable[tuple[Scenario, int]]:
    """Each scenario to be drawn, and its how-manieth turn that is."""
    groups: dict[str, list[Scenario]] = {}
    for scenario in offered:
        key = {"scenario": scenario.name, "family": scenario.family, "line": ""}[wish.per]
        groups.setdefault(key, []).append(scenario)
    for _, group in sorted(groups.items()):
        group.sort(key=lambda scenario: _hash(0, f"{salt} {scenario.name}"))
        for turn in range(wish.times):
            yield group[turn % len(group)], turn


def _drawn(catalog: Catalog, scenario: Scenario, most_s: float, salt: str) -> Drawn:
    """The first draw that is short enough, else the shortest of some."""
    shortest: Drawn | None = None
    for number in range(_DRAWS):
        drawn = catalog.draw(scenario, _hash(number, salt) % 1_000_000)
        if drawn.duration_s <= most_s:
            return drawn
        if shortest is None or drawn.duration_s < shortest.duration_s:
            shortest = drawn
    assert shortest is not None
    return shortest


def _placed(
    plan: Plan, seed: int, order: Sequence[Drawn], packed: Callable[[Drawn], bool]
) -> tuple[list[tuple[float, Drawn]], int]:
    """Places in turn: as early as possible, or anywhere there is room (by seed). Second: how many found no room."""
    placed: list[tuple[float, Drawn]] = []
    left = 0
    for number, drawn in enumerate(order):
        starts = _starts(plan, drawn, placed)
        if not len(starts):
            left += 1
            continue
        place = 0 if packed(drawn) else _hash(seed, f"{plan.name} {number} {_label(drawn)}") % len(starts)
        placed.append((float(starts[place]), drawn))
    return placed, left


def _starts(plan: Plan, drawn: Drawn, placed: Sequence[tuple[float, Drawn]]) -> "np.ndarray[Any, Any]":
    """Offsets at which the act has room, set-up and undoing included."""
    clear_s = plan.before_s + plan.after_s
    spans = [
        np.arange(span.from_s + plan.before_s, span.to_s - plan.after_s - drawn.duration_s + GRID_S / 2, GRID_S)
        for span in _busy(plan)
    ]
    starts = np.concatenate([*spans, np.empty(0)])
    free = np.ones(len(starts), dtype=bool)
    beside = np.zeros(len(starts), dtype=int)
    for at, other in placed:
        near = (starts < at + other.duration_s + clear_s) & (at < starts + drawn.duration_s + clear_s)
        if disturbs(drawn, other):
            free &= ~near
        beside += near & (other.scenario.category == drawn.scenario.category)
    return starts[free & (beside < plan.lanes[drawn.scenario.category])]


def _busy(plan: Plan) -> Iterable[Span]:
    """The spans that are not quiet."""
    at = 0.0
    for span in plan.quiet:
        if span.from_s > at:
            yield Span(at, span.from_s)
        at = span.to_s
    if at < plan.length_s:
        yield Span(at, plan.length_s)


def _item(offset_s: float, drawn: Drawn) -> Item:
    return Item(offset_s, drawn.scenario.name, drawn.seed, drawn.duration_s, drawn.planned())


def _label(drawn: Drawn) -> str:
    return f"{drawn.scenario.name} {drawn.seed}"


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8], "big")
