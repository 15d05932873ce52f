"""How long after it began an attack is told: by windows that are still open, and by closed ones, on the same flows.

Flows out of nothing in simulated time, so that a busy machine changes nothing: an agent tells a flow at the drain after
its end, one that fell silent `idle_s` later. Each second the windows take what was told, the part `anomalies` looks at
open ones and judges closed ones, exactly as live (`WindowMachine`, `Noticing`, `Foretelling`). Attacks begin at any
moment of a window. What is told while nothing is staged is false. `detected` is in s after the attack began. The time
that the computing takes is not in it: `loomidi_anomalies_alert_seconds` tells that of a running pipeline. Exit code 1
when the median of B3 (10 s) is missed, or its p95 (60 s).
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings
from loomidi.loom.windows.specifications import SPECS
from loomidi.loom.windows.synthetic import START_NS, flow_records
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.champions import floor
from loomidi.services.anomalies.foretelling import Foretelling
from loomidi.services.anomalies.noticing import TELLING, Noticing
from loomidi.services.settings.anomalies import AnomalySettings

RESULT = Path(__file__).resolve().parent.parent / ".work" / "bench" / "early_words.json"
NS = 10**9
SIZE_S, LATENESS_S, DRAIN_S, IDLE_S = 10, 12.0, 1.0, 10.0  # as `loomidi run` has them by default
SETTLE_S = 0.5  # of silence after which a closed window is whole
LEARN_S, CALIBRATE_S, REST_S, ATTACK_S = 900, 600, 60, 30
FLOWS = 40  # a second, of all that is usual
FAMILIES = ("scan", "brute force", "exfiltration", "flood")
MEDIAN_S, P95_S = 10.0, 60.0  # of B3
SETTINGS = AnomalySettings(
    learn_s=LEARN_S, calibrate_s=CALIBRATE_S, learn_rows=1280, kept_rows=60_000, pairs=8192, quiet_s=30.0
)


def usual(second: int, seed: int, start_ns: int = START_NS, seconds: int = 1) -> pa.RecordBatch:
    """What ends in one second, or in some, of a shop of a dozen workloads."""
    began_ns, count = start_ns + second * NS, FLOWS * seconds
    return flow_records(
        count, seed=seed * 100_000 + second, start_ns=began_ns, seconds=float(seconds), pods=60, outside=4
    )


def attack(family: str, second: int, seed: int, start_ns: int = START_NS) -> pa.RecordBatch:
    """What one attacker ends in one second, by family."""
    many = {"scan": 40, "brute force": 30, "exfiltration": 2, "flood": 200}[family]
    rows = _counted(usual(second, seed + 7, start_ns))
    at = np.random.default_rng([seed, second]).integers(0, FLOWS, many)
    out = {name: [values[row] for row in at] for name, values in rows.items()}
    known = "deployment/shop/part-3"
    pod = known if family == "exfiltration" else "deployment/tenants/attacker"
    out["source_workload"], out["source_entity"] = [pod] * many, [f"pod/{pod.partition('/')[2]}-0"] * many
    out["source_ip_address"] = ["10.9.9.9"] * many
    for row in range(many):
        target = f"deployment/other/part-{row + second % 7 * 40}" if family == "scan" else "deployment/shop/part-1"
        if family == "exfiltration":
            out["destination_ip_address"][row] = "203.0.113.9"
            out["octet_delta_count"][row] = out["payload_octet_count"][row] = 50_000_000
            target = None
        out["destination_workload"][row] = target
        out["destination_entity"][row] = f"pod/{target.partition('/')[2]}-0" if target else None
        out["destination_service"][row] = None
        if family in ("scan", "flood"):
            out["flow_end_reason"][row] = "rst" if row % 2 else "idle"
            out["reverse_packet_delta_count"][row] = out["reverse_octet_delta_count"][row] = 0
    schema = usual(0, 0).schema
    arrays = [pa.array(out[one.name], _as_number(one.type)).cast(one.type) for one in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _counted(batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """As lists, times as numbers: as datetimes their nanoseconds would be lost."""
    columns = zip(batch.schema, batch.columns, strict=True)
    return {one.name: column.cast(_as_number(one.type)).to_pylist() for one, column in columns}


def _as_number(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_temporal(kind) else kind


def told_at(batch: pa.RecordBatch) -> "np.typing.NDArray[np.int64]":
    """When an agent tells each flow: at the drain after its end, one that fell silent `IDLE_S` later."""
    ends = batch.column("flow_end_nanoseconds").cast(pa.int64()).to_numpy()
    silent = np.array([why == "idle" for why in batch.column("flow_end_reason").to_pylist()])
    drain = int(DRAIN_S * NS)
    found: np.typing.NDArray[np.int64] = ((ends + silent * int(IDLE_S * NS)) // drain + 1) * drain
    return found


class Line:
    """From flows to words, a second at a time."""

    def __init__(self, seed: int) -> None:
        specs = tuple(spec for spec in SPECS if spec.size_s == SIZE_S)
        self.machine = WindowMachine(WindowSettings(specs=specs, lateness_s=LATENESS_S), epoch=1)
        self.noticing = Noticing(SETTINGS, SIZE_S, floor(SETTINGS))
        self.foretold, self.seed, self.second = Foretelling(), seed, 0
        self._waiting = list[tuple[int, pa.RecordBatch]]()

    def turn(self, family: str = "") -> Iterator[tuple[float, bool, Incident]]:
        """One second; what is told in it: when (s), whether early, what."""
        for batch in (usual(self.second, self.seed), *([attack(family, self.second, self.seed)] if family else [])):
            due = told_at(batch)
            self._waiting += [(int(at), batch.filter(pa.array(due == at))) for at in np.unique(due)]
        self.second += 1
        now_ns = START_NS + self.second * NS
        due_now = [one for at, one in self._waiting if at <= now_ns]
        self._waiting = [(at, one) for at, one in self._waiting if at > now_ns]
        for batch in due_now:
            self.machine.absorb(batch, created_ns=now_ns)
        early, _ = self.machine.early(SIZE_S) if self.noticing.phase == TELLING else ([], 0)
        found = self.noticing.glance({int(one["window_end"].cast(pa.int64())[0].as_py()): one for one in early})
        for one in found:
            for telling in self.foretold.first([one]):
                yield self.second, True, telling.incident
        to_ns = self.machine.due()
        closed = self.machine.close(to_ns) if to_ns is not None else []
        final = list[Incident]()
        for envelope in closed:
            if envelope.stream == "edge_windows":
                final += self.noticing.take(decode(envelope, EDGE_WINDOWS))
        final += self.noticing.settle() if closed else []
        for one in final:
            list(self.foretold.then(one))
            if one.state == "new":
                yield self.second + SETTLE_S, False, one
        list(self.foretold.lapsed(self.noticing.done_ns))


def measured(seed: int, times: int) -> dict[str, Any]:
    """Learn, then stage each family so often; seconds to the first word of each kind."""
    line, rng = Line(seed), np.random.default_rng(seed)
    for _ in range(LEARN_S + CALIBRATE_S + 60):
        list(line.turn())
    out: dict[str, Any] = {"rows": [], "quiet_s": 0, "false_early": 0, "false_closed": 0}
    for family in [one for _ in range(times) for one in FAMILIES]:
        for _ in range(REST_S + int(rng.integers(0, SIZE_S))):
            for _, early, _ in line.turn():
                out["false_early" if early else "false_closed"] += 1
            out["quiet_s"] += 1
        began, first = line.second, dict[str, float]()
        for second in range(ATTACK_S + 30):
            for at, early, _ in line.turn(family if second < ATTACK_S else ""):
                first.setdefault("early" if early else "closed", at - began)
        out["rows"].append({"family": family, **first})
        print(f"seed {seed}  {family:14} early {first.get('early')}  closed {first.get('closed')}", flush=True)
    return out | {"counts": dict(line.foretold.counts)}


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Quantiles over all attacks; of `first` the earlier word counts."""
    rows = [row for run in runs for row in run["rows"]]
    out: dict[str, Any] = {"attacks": len(rows), "quiet_s": sum(run["quiet_s"] for run in runs)}
    for kind in ("early", "closed", "first"):
        words = [
            min(row.get("early", np.inf), row.get("closed", np.inf)) if kind == "first" else row.get(kind)
            for row in rows
        ]
        times = [one for one in words if one is not None and np.isfinite(one)]
        out[f"{kind}_told"] = len(times)
        out |= {
            f"{kind}_{name}_s": float(np.quantile(times, q)) if times else float("inf")
            for name, q in (("median", 0.5), ("p95", 0.95))
        }
    for name in ("early", "closed"):
        out[f"false_{name}"] = sum(run[f"false_{name}"] for run in runs)
    out["withdrawn"] = sum(run["counts"].get("early_withdrawn", 0) for run in runs)
    out["families"] = {
        family: [min(row.get("early", np.inf), row.get("closed", np.inf)) for row in rows if row["family"] == family]
        for family in FAMILIES
    }
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=5, help="of the flows")
    parser.add_argument("--times", type=int, default=3, help="that each family is staged, for each seed")
    given = parser.parse_args()
    told = figures([measured(seed, given.times) for seed in range(1, given.seeds + 1)])
    print(f"{'':8}{'told':>10}{'median':>10}{'p95':>10}{'false':>10}")
    for kind in ("early", "closed", "first"):
        each = f"{told[f'{kind}_told']:>4} of {told['attacks']}"
        middle, most = told[f"{kind}_median_s"], told[f"{kind}_p95_s"]
        print(f"{kind:8}{each:>10}{middle:9.1f}s{most:9.1f}s{told.get(f'false_{kind}', ''):>10}")
    print(f"taken back: {told['withdrawn']}, in {told['quiet_s'] / 3600:.2f} h in which nothing was staged")
    bounds = {"first_median_s": MEDIAN_S, "first_p95_s": P95_S}
    missed = [
        f"{name} {told[name]:.1f}, not at most {most:g}" for name, most in bounds.items() if not told[name] <= most
    ]
    missed += (
        [] if told["first_told"] == told["attacks"] else [f"{told['attacks'] - told['first_told']} attacks not told"]
    )
    print("\n" + ("\n".join(f"missed: {line}" for line in missed) if missed else "all targets are met"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(told | {"missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
