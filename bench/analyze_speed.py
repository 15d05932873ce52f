"""Time `loomidi analyze` as a whole process beside floors that read the same capture: cat, tcpdump, `loomidi meter`.

Called by `bench/report.py`, or alone: `python bench/analyze_speed.py [--json FILE]`. Start-up is in every figure. Each
command runs `--runs` times in turn, the fastest counts (others use this machine too); the capture is read once before,
so that all find it in memory. The last line reads it four times over: tables fill up to their bounds, and memory does
not follow the size of what is read.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.make_capture import FLOWS, PACKETS, capture  # noqa: E402 - runs alone too

TARGET_PACKETS_PER_SECOND = 500_000
FOUR_TIMES = "loomidi analyze, 4 times the capture"


def measured(command: Sequence[str]) -> dict[str, float]:
    """Run to the end: wall seconds, CPU seconds, peak resident MB. Raises RuntimeError when it fails."""
    begin = time.perf_counter()
    child = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                                                       (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    )  # fmt: skip
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: something was found
        raise RuntimeError(f"{' '.join(command)} failed; run it by hand to see why")
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "rss_mb": used.ru_maxrss / 1024}


def commands(path: str, folder: str) -> dict[str, list[str]]:
    """What is compared, floors first."""
    loomidi = [sys.executable, "-m", "loomidi"]
    found = {"cat": ["cat", path]}
    if shutil.which("tcpdump"):
        found["tcpdump -w -"] = ["tcpdump", "-r", path, "-w", "-"]
    found["loomidi --version"] = [*loomidi, "--version"]
    found["loomidi meter"] = [*loomidi, "meter", path, "--output", f"{folder}/flows.arrow"]
    found["loomidi analyze"] = [*loomidi, "analyze", path, "--json"]
    found[FOUR_TIMES] = [*loomidi, "analyze", *[path] * 4, "--json"]
    return found


def compare(path: str, runs: int) -> dict[str, dict[str, float]]:
    """Every command in turn, several times; the fastest run of each."""
    measured(["cat", path])
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, command in [*commands(path, folder).items()] * runs:
            figures = measured(command)
            if name not in best or figures["seconds"] < best[name]["seconds"]:
                best[name] = figures
    return best


def main() -> int:
    """Print the table; exit code 0 whether the target is met or not (the figures are judged elsewhere)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures here")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    path = str(capture())
    found = compare(path, given.runs)
    print(f"{'':40} {'seconds':>8} {'CPU s':>7} {'packets/s':>12} {'RSS MB':>7}")
    for name, figures in found.items():
        packets = 0 if "version" in name else PACKETS * (4 if name == FOUR_TIMES else 1)
        figures["packets_per_second"] = round(packets / figures["seconds"])
        memory = f"{figures['rss_mb']:.0f}" if "loomidi" in name else ""  # a small child shows what it was forked from
        rate = f"{figures['packets_per_second']:,}" if packets else ""
        print(f"{name:40} {figures['seconds']:8.3f} {figures['cpu_seconds']:7.3f} {rate:>12} {memory:>7}")
    rate, once = found["loomidi analyze"]["packets_per_second"], found["loomidi analyze"]["rss_mb"]
    growth = found[FOUR_TIMES]["rss_mb"] / once
    print(f"\n{PACKETS:,} packets of {FLOWS:,} flows: {rate:,.0f} packets/s, target {TARGET_PACKETS_PER_SECOND:,}")
    print(f"peak memory at 4 times the capture: {growth:.2f} times")
    if given.json:
        figures = {"packets": PACKETS, "flows": FLOWS, "packets_per_second": rate, "rss_mb": once}
        given.json.write_text(json.dumps(figures | {"rss_growth_4x": growth, "runs": found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
