"""Plans through the lease engine, their full life each: intent, applied, verified, undone; beside what the disk can do.

Three rows by the dry-run driver, whose effects cost nothing, so that what is measured is the engine: in the store that
the agent uses (SQLite, fsync with every write), in the same without fsync, and in memory. Plans go by `carry_out_all`
and `undo_all`, whose receipts are written together: an inverse is on disk before the effect for each of them. One by
one, each step of each plan waits for the disk: the fourth row. Beside it, in the same run and on the same disk: bare
SQLite transactions of one row with fsync, and bare fsync of one block. In turns, the best of `--rounds` counts, since
the machine's other work only ever takes away; the worst is told too.
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loomidi.contracts import (
    Approval,
    BlastRadius,
    Evidence,
    Finding,
    FoldKind,
    FoldSpec,
    Match,
    Mode,
    Plan,
    Severity,
    Verdict,
)
from loomidi.ionic.act import DryRunDriver, Engine, MemoryReceipts, SqliteReceipts
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import plan_id
from loomidi.kit.clock import SystemClock

SIGNER = Signer(b"bench of the lease engine, 32 oc.")
SYNC_OFF = "PRAGMA synchronous=OFF"
FLOOR_S = 1.0  # of each floor
Approved = list[tuple[Plan, Approval]]


def plans(count: int) -> Approved:
    """Approved plans, each on a source of its own."""
    now_ns = SystemClock().now_ns()
    return [a_plan(number, now_ns) for number in range(count)]


def a_plan(number: int, now_ns: int) -> tuple[Plan, Approval]:
    """A drop of one source, as a flood leads to."""
    source = f"100.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
    evidence = (Evidence("syn_rate", 5000.0, 200.0, "packets/s", "SYNs"),)
    about = (f"host/{source}", "service/10.0.0.2:80/tcp")
    finding = Finding(
        "finding-0123456789abcdef",
        "syn_flood",
        ("T1498.001",),
        Severity.HIGH,
        0.95,
        about,
        now_ns,
        now_ns,
        evidence,
        "bench",
    )
    fold = FoldSpec(FoldKind.RECONFIGURE_NETWORK, about[0], "drop", Match(source), ttl_s=300.0, because=finding.id)
    radius = BlastRadius(1, 900, 5000, 300_000, 0.4)
    content = Plan("", finding, fold, radius, Mode.GUARDED, now_ns, now_ns + 3_600_000_000_000)
    plan = Plan(plan_id(content), finding, fold, radius, Mode.GUARDED, content.created_ns, content.expires_ns)
    verdicts = tuple(Verdict("floor", rule, True, "") for rule in ("ttl_bounded", "protected_untouched", "aimed"))
    return plan, SIGNER.sign(plan, verdicts, approver=GUARDS, granted_ns=now_ns, expires_ns=plan.expires_ns)


def together(engine: Engine, approved: Approved) -> None:
    """All by a few waits for the disk."""
    engine.carry_out_all(approved)
    engine.undo_all([plan.id for plan, _ in approved])


def singly(engine: Engine, approved: Approved) -> None:
    """Each by four."""
    for plan, approval in approved:
        engine.carry_out(plan, approval)
        engine.undo(plan.id)


def lives(store: Any, approved: Approved, way: Callable[[Engine, Approved], None]) -> float:
    """Plans per second. Raises SystemExit when one has not lived its whole life."""
    driver = DryRunDriver(SIGNER)
    engine = Engine(store, [driver], SIGNER)
    began = time.perf_counter()
    way(engine, approved)
    took = time.perf_counter() - began
    whole = ["intent", "applied", "verified", "undone"]
    odd = [plan.id for plan, _ in approved if [one.step.value for one in store.of(plan.id)] != whole]
    if odd or driver.standing or store.verify_chain().broken_at is not None:
        raise SystemExit(f"plans: {len(odd)} of {len(approved)} did not live as they should")
    return len(approved) / took


def on_disk(folder: Path, approved: Approved, way: Callable[[Engine, Approved], None], *, synced: bool) -> float:
    """The same in a store of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = SqliteReceipts(Path(place) / "receipts.sqlite")
        if not synced:
            store._base.execute(SYNC_OFF)
        found = lives(store, approved, way)
        store.close()
    return found


def bare_transactions(folder: Path) -> float:
    """Per second: one row each, WAL, synchronous=FULL, as the store."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        base = sqlite3.connect(Path(place) / "bare.sqlite", isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        base.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, text TEXT)")
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < FLOOR_S:
            base.execute("INSERT INTO rows (text) VALUES (?)", ("x" * 1000,))
            done += 1
        took = time.perf_counter() - began
        base.close()
    return done / took


def bare_fsyncs(folder: Path) -> float:
    """Per second: 4 KiB appended each."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < FLOOR_S:
            os.write(file.fileno(), b"x" * 4096)
            os.fsync(file.fileno())
            done += 1
        return done / (time.perf_counter() - began)


def measure(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Best and worst of each row, per second."""
    approved = plans(count)
    few = approved[: max(1, count // 40)]
    rows: dict[str, Callable[[], float]] = {
        "fsync": lambda: on_disk(folder, approved, together, synced=True),
        "no_fsync": lambda: on_disk(folder, approved, together, synced=False),
        "memory": lambda: lives(MemoryReceipts(), approved, together),
        "fsync_singly": lambda: on_disk(folder, few, singly, synced=True),
        "bare_transactions": lambda: bare_transactions(folder),
        "bare_fsyncs": lambda: bare_fsyncs(folder),
    }
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, row in rows.items():
            found[name].append(row())
    figures = {f"{name}_per_s": round(max(values), 1) for name, values in found.items()}
    worst = {f"{name}_worst_per_s": round(min(values), 1) for name, values in found.items()}
    return {"plans": count, "rounds": rounds, **figures, **worst}


def show(found: dict[str, Any]) -> None:
    """The table, with what each row is."""
    names = {
        "fsync": "plans, receipts together, fsync",
        "no_fsync": "plans, receipts together, no fsync",
        "memory": "plans, receipts in memory",
        "fsync_singly": "plans, one by one, fsync",
        "bare_transactions": "floor: SQLite transactions, fsync",
        "bare_fsyncs": "floor: fsync of 4 KiB",
    }
    print(f"{found['plans']:,} plans, each intended, applied, verified and undone; best of {found['rounds']} rounds")
    print(f"{'':36}{'per second':>12}{'worst':>12}")
    for name, title in names.items():
        print(f"{title:36}{found[f'{name}_per_s']:>12,.0f}{found[f'{name}_worst_per_s']:>12,.0f}")


def main() -> int:
    """Exit code 0 when all lived their lives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plans", type=int, default=2560)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).resolve().parent.parent / ".work", help="on the disk"
    )
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found = measure(given.folder, given.plans, given.rounds)
    show(found)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
