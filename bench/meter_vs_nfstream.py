"""The flow meter beside nfstream: CPU seconds and memory of whole processes on one capture, and what they counted.

Called by `make bench` and by hand: `python bench/meter_vs_nfstream.py --json FILE`. In: the capture of
`make_capture.py`. Out: figures as text and JSON. Both are pinned to one CPU and run in turn; figures are medians.
nfstream runs with statistical analysis and one meter process, with its default deep inspection of 20 packets a flow
and without. Ours is the command `loomidi meter`, start of Python and writing of an Arrow file included.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import make_capture

ROOT = Path(__file__).resolve().parent.parent
TARGET, RSS_MB = 30.0, 200.0

_PEER = """
import json, sys
from nfstream import NFStreamer
flows = packets = octets = 0
for flow in NFStreamer(source=sys.argv[1], statistical_analysis=True, n_dissections=int(sys.argv[2]), n_meters=1,
                       accounting_mode=1):
    flows += 1
    packets += flow.bidirectional_packets
    octets += flow.bidirectional_bytes
json.dump({"flows": flows, "packets": packets, "octets": octets}, open(sys.argv[3], "w"))
"""

_OURS = """
import json, sys
import pyarrow as pa, pyarrow.compute as pc
table = pa.ipc.open_file(sys.argv[1]).read_all()
total = lambda *names: sum(pc.sum(table[name]).as_py() for name in names)
json.dump({"flows": table.num_rows, "packets": total("packet_delta_count", "reverse_packet_delta_count"),
           "octets": total("octet_delta_count", "reverse_octet_delta_count")}, open(sys.argv[2], "w"))
"""


def peer_python() -> Path:
    """A Python that has nfstream: this one, or a venv of its own with the version of the lock."""
    found = re.search(r"^nfstream==([\w.]+)", (ROOT / "requirements-bench.lock").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("bench: requirements-bench.lock names no version of nfstream")
    has = subprocess.run([sys.executable, "-c", "import nfstream"], capture_output=True, check=False)
    if has.returncode == 0:
        return Path(sys.executable)
    folder = Path.home() / ".cache" / "loomidi" / "bench-venv" / f"nfstream-{found[1]}"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if subprocess.run([python, "-c", "import nfstream"], capture_output=True, check=False).returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", f"nfstream=={found[1]}"], check=True)
    return python


def measured(command: Sequence[str | Path], cpu: int) -> dict[str, float]:
    """CPU seconds (user and system, children too), wall seconds and peak memory of a process pinned to one CPU."""
    before = os.times()
    process = subprocess.Popen(
        ["taskset", "-c", str(cpu), *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench: {command[0]} failed: {told.decode(errors='replace')[-400:]}")
    after = os.times()
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": after.elapsed - before.elapsed,
        "rss_mb": usage.ru_maxrss / 1024,
    }


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def compare(capture: Path, repeats: int, cpu: int) -> dict[str, Any]:
    """Both in turn, `repeats` times."""
    peer, loomidi = peer_python(), Path(sys.executable).with_name("loomidi")
    runs: dict[str, list[dict[str, float]]] = {"loomidi": [], "nfstream_20": [], "nfstream_0": []}
    with tempfile.TemporaryDirectory() as folder:
        output, counts = Path(folder) / "flows.arrow", Path(folder) / "counts.json"
        for _ in range(repeats):
            runs["loomidi"].append(measured([loomidi, "meter", capture, "--output", output], cpu))
            for depth in (20, 0):
                command = [peer, "-c", _PEER, capture, str(depth), counts]
                runs[f"nfstream_{depth}"].append(measured(command, cpu))
        theirs = json.loads(counts.read_text())
        subprocess.run([sys.executable, "-c", _OURS, output, counts], check=True)
        ours = json.loads(counts.read_text())
    figures = {name: medians(found) for name, found in runs.items()}
    for name, counted in (("loomidi", ours), ("nfstream_20", theirs), ("nfstream_0", theirs)):
        figures[name]["packets_per_cpu_s"] = counted["packets"] / figures[name]["cpu_s"]
    return {"figures": figures, "counts": {"loomidi": ours, "nfstream": theirs}}


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """The targets, met or missed. Counts must be equal on this capture: no documented difference applies to it."""
    figures = found["figures"]
    rate = figures["loomidi"]["packets_per_cpu_s"]
    ratio, ratio_0 = (rate / figures[name]["packets_per_cpu_s"] for name in ("nfstream_20", "nfstream_0"))
    return found | {
        "ratio": ratio,
        "ratio_without_inspection": ratio_0,
        "targets": {
            "at least 30x packets per CPU-second of nfstream": ratio >= TARGET,
            "resident memory below 200 MB": figures["loomidi"]["rss_mb"] < RSS_MB,
            "flow, packet and octet counts equal nfstream's": found["counts"]["loomidi"] == found["counts"]["nfstream"],
        },
    }


def show(found: dict[str, Any]) -> None:
    """As lines for a person."""
    for name, run in found["figures"].items():
        rate = f"{run['packets_per_cpu_s']:12,.0f} packets/CPU s"
        print(f"{name:12} {run['cpu_s']:8.2f} CPU s {rate} {run['rss_mb']:7.0f} MB")
    print(f"counts       {found['counts']}")
    print(f"ratio        {found['ratio']:.1f}x, without inspection {found['ratio_without_inspection']:.1f}x")
    for target, met in found["targets"].items():
        print(f"{'met' if met else 'MISSED':12} {target}")


def main() -> int:
    """Exit code 1 when a target is missed."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    given = arguments.parse_args()
    found = judged(compare(make_capture.capture(), given.repeats, given.cpu))
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(found["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
