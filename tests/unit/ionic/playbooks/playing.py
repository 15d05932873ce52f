"""Playbooks, hands and runners for tests: small documents, a fake data plane, a clock that is moved by hand."""

import dataclasses
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import Finding, Mode
from loomidi.contracts.ports import ReceiptStore
from loomidi.ionic.act import Engine, MemoryReceipts, ShieldDriver, SqliteReceipts
from loomidi.ionic.decide import Decider, DeciderSettings, FloorGuard
from loomidi.ionic.documents import read_record
from loomidi.ionic.playbooks import Hands, MemoryRuns, Playbook, RunLimits, Runner, SqliteRuns, library
from loomidi.ionic.playbooks.reading import taken
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield
from loomidi.origami.online.rules import rules_folder
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_clock

AGENT = "security-category--11111111-1111-5111-8111-111111111111"
TIME = "2026-11-27T00:00:00.000Z"
SAMPLES = rules_folder("playbooks") / "samples"


def key(kind: str, name: str = "") -> str:
    return f"{kind}--{uuid.uuid5(uuid.NAMESPACE_DNS, name or kind)}"


START, END = key("start"), key("end")


def action(*commands: Mapping[str, Any], then: str = END, **more: Any) -> dict[str, Any]:
    """An action step; it goes on to `then` unless `more` says where."""
    ways = {} if {"on_success", "on_failure"} & set(more) else {"on_completion": then}
    return {"type": "action", "commands": list(commands), "agent": AGENT, **ways, **more}


def fold(**told: Any) -> dict[str, Any]:
    return {"type": "x-loomidi-fold", "command": json.dumps(told)}


def undo(of: str = "all") -> dict[str, Any]:
    return {"type": "x-loomidi-undo", "command": json.dumps({"of": of})}


def probe(name: str = "holds") -> dict[str, Any]:
    return {"type": "x-loomidi-probe", "command": json.dumps({"probe": name})}


MANUAL = {"type": "manual", "command": "look at it"}
SLOW, DROP = fold(propose="rate"), fold(propose="drop")


def document(first: str, steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A playbook that begins with `first`; START and END are there already."""
    workflow = {START: {"type": "start", "on_completion": first}, END: {"type": "end"}, **steps}
    return {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": key("playbook"),
        "name": "one for tests",
        "created_by": key("identity"),
        "created": TIME,
        "modified": TIME,
        "workflow_start": START,
        "workflow": workflow,
        "agent_definitions": {AGENT: {"type": "security-category", "name": "Loomidi"}},
        **more,
    }


def book(first: str, steps: Mapping[str, Any], **more: Any) -> Playbook:
    return taken(document(first, steps, **more))


@dataclasses.dataclass
class Table:
    """A runner with everything around it that a test looks at."""

    runner: Runner
    hands: Hands
    shield: FakeShield
    store: ReceiptStore
    clock: ManualClock

    def blocked(self) -> list[tuple[str, str]]:
        return [(state.deny.action, state.deny.match.source) for state in self.shield.entries() if state.live]


def a_table(
    mode: Mode = Mode.GUARDED,
    folder: Path | None = None,
    *,
    protected: tuple[str, ...] = (),
    limits: RunLimits | None = None,
    books: tuple[Playbook, ...] = (),
    **more: Any,
) -> Table:
    """In memory, or with runs, receipts and data plane in files of `folder`. `more`: fields of Hands; `fault`."""
    clock, fault = a_clock(), more.pop("fault", None)
    shield = FakeShield(clock=clock, path=folder / "shield.json" if folder else None)
    store = SqliteReceipts(folder / "receipts.sqlite", clock=clock) if folder else MemoryReceipts(clock=clock)
    engine = Engine(store, [ShieldDriver(shield, SIGNER, clock=clock)], SIGNER, clock=clock, fault=fault)
    settings = DeciderSettings(mode=mode)
    guards = (FloorGuard(protected, settings.limits, mode),)
    decider = Decider(guards, protected, settings, signer=SIGNER, clock=clock, active=engine.active)
    hands = Hands(decider, engine, store, **more)
    runs = SqliteRuns(folder / "runs.sqlite", clock=clock) if folder else MemoryRuns(clock=clock)
    return Table(Runner(hands, runs, books, limits=limits, clock=clock), hands, shield, store, clock)


def sample(name: str) -> tuple[Playbook, Finding, dict[str, Any]]:
    """A playbook of the library, the finding that it is tried with, and what is expected."""
    told = json.loads((SAMPLES / f"{name}.json").read_text())
    return library()[name], read_record(Finding, told["finding"], "finding"), told
