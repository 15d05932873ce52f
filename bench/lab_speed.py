"""How fast the lab comes and goes: build, up, shop ready, down, and what it leaves free of two cores.

Run by `make bench` and `make accept NAME=lab` as root, with the lab built. In: nothing. Out: a table, `--json FILE`.
Beside each figure stands a floor of the same run: for `up` the time until the bare API server answers, for `down` the
removal of as many empty network namespaces, for the load what the idle cluster takes. `--cold` measures nothing but
a build of everything in caches of its own (ten minutes and 8 GB that are removed again).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loomidi_lab import shop as shops
from loomidi_lab import staging
from loomidi_lab.cluster import Lab, UpSettings, down, up
from loomidi_lab.shop.load import Load, LoadProfile

NAME = "bench"
ROUNDS = 3
RATE, LOADED_S, IDLE_S = 30.0, 30.0, 15.0
SETUP_S = 20.0  # from the order to the planned start: what a scenario needs before it is done by then
JITTER = ("scan-services", "metadata-probing", "decoy-touch")


class Stopwatch:
    """The progress lines of one `up`, with their times."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.marks: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        self.marks[text.split(" ")[0]] = time.monotonic() - self.started

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started


def cold() -> dict[str, float]:
    """`loomidi-lab build` where neither Go nor the lab has anything in its caches. Bridge network, default images."""
    work = Path.cwd() / ".work"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="cold-") as folder:
        caches = {name: f"{folder}/{name.lower()}" for name in ("GOCACHE", "GOMODCACHE", "LOOMIDI_LAB_CACHE")}
        environment = {**os.environ, **caches}
        watch = Stopwatch()
        subprocess.run([sys.executable, "-m", "loomidi_lab", "build", "--images", "none"], env=environment, check=True)
        tools_s = watch.seconds()
        subprocess.run([sys.executable, "-m", "loomidi_lab", "build"], env=environment, check=True)
        total_s = watch.seconds()
        subprocess.run(["go", "clean", "-modcache"], env=environment, check=True)  # read-only, so not by rmtree
        return {"tools_s": tools_s, "images_s": total_s - tools_s, "total_s": total_s}


def coming_and_going() -> dict[str, Any]:
    """Up and down, some rounds; the last lab stays up."""
    ups, downs, floors = [], [], []
    for number in range(ROUNDS):
        watch = Stopwatch()
        up(UpSettings(name=NAME), watch)
        ups.append(watch.seconds())
        floors.append(watch.marks["kubelets"])  # told when the API server has answered
        if number < ROUNDS - 1:
            watch = Stopwatch()
            down(NAME)
            downs.append(watch.seconds())
    return {
        "up_s": {"median": statistics.median(ups), "worst": max(ups), "api_alone_s": statistics.median(floors)},
        "down_s": {"median": statistics.median(downs), "worst": max(downs), "floor_s": namespaces_alone()},
    }


def namespaces_alone(count: int = 4) -> float:
    """Seconds to remove as many empty network namespaces as a lab has."""
    names = [f"lmfloor{number}" for number in range(count)]
    for name in names:
        subprocess.run(("ip", "netns", "add", name), check=True)
    watch = Stopwatch()
    for name in names:
        subprocess.run(("ip", "netns", "delete", name), check=True)
    return watch.seconds()


def busy(seconds: float) -> float:
    """Cores in use over some seconds, the whole machine."""
    before = ticks()
    time.sleep(seconds)
    after = ticks()
    total, idle = (after[0] - before[0], after[1] - before[1])
    return (os.cpu_count() or 1) * (1 - idle / total)


def ticks() -> tuple[int, int]:
    """All and idle, summed over processors."""
    words = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(words), words[3] + words[4]


def under_load(lab: Lab, shop: "shops.Shop") -> dict[str, Any]:
    """Cores in use without users and with 30 requests a second, load generator included."""
    time.sleep(10)  # what a start leaves to do is no part of either
    idle = busy(IDLE_S)
    with tempfile.TemporaryDirectory() as folder:
        load = Load(lab, shop, LoadProfile(rate=RATE, swing=0.0, bursts=0.0), 7, Path(folder) / "load")
        load.start()
        time.sleep(5)
        used = busy(LOADED_S)
        summary = load.stop()
    return {
        "cores": os.cpu_count(),
        "idle_cores_used": idle,
        "loaded_cores_used": used,
        "free_cores": (os.cpu_count() or 1) - used,
        "requests_per_s": summary.rate,
        "errors": sum(summary.errors.values()),
    }


def jitters(lab: Lab, shop: "shops.Shop") -> dict[str, Any]:
    """How late scenarios begin, against the moment that was planned for them."""
    drawn = [staging.draw(staging.load(name), 1) for name in JITTER]
    runs = [staging.run(lab, each, shop=shop, at=time.monotonic() + SETUP_S) for each in drawn]
    late = [run.as_dict()["measured"]["jitter_ns"] / 1e6 for run in runs]
    return {"runs": len(late), "worst_ms": max(late), "median_ms": statistics.median(late)}


def measure() -> dict[str, Any]:
    """Everything but the build."""
    down(NAME)
    try:
        figures = coming_and_going()
        lab = Lab.open(NAME)
        watch = Stopwatch()
        shop = shops.deploy(lab, progress=lambda _: None)
        shop.wait_ready(180)
        figures["shop_ready_s"] = watch.seconds()
        figures["load"] = under_load(lab, shop)
        figures["jitter"] = jitters(lab, shop)
        lab.close()
    finally:
        down(NAME)
    return figures


def draw(figures: dict[str, Any]) -> list[str]:
    """The table."""
    if "build" in figures:
        build = figures["build"]
        return [f"build, cold   {build['total_s']:.0f} s: tools {build['tools_s']:.0f}, images {build['images_s']:.0f}"]
    load, jitter = figures["load"], figures["jitter"]
    rows = []
    for name, floor, what in (("up", "api_alone_s", "API server alone"), ("down", "floor_s", "empty namespaces alone")):
        one = figures[f"{name}_s"]
        rows.append(f"{name:13} median {one['median']:.1f} s, worst {one['worst']:.1f} s; {what} {one[floor]:.1f} s")
    return [
        *rows,
        f"shop ready    {figures['shop_ready_s']:.1f} s after `up`",
        f"cores used    {load['loaded_cores_used']:.2f} of {load['cores']} at {load['requests_per_s']:.1f} requests/s "
        f"({load['errors']} errors); without users {load['idle_cores_used']:.2f}",
        f"start jitter  worst {jitter['worst_ms']:.0f} ms of {jitter['runs']} scenarios",
    ]


def main() -> int:
    """Exit code 2 when the lab cannot be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cold", action="store_true", help="build everything anew, nothing else")
    given = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("go"):
        print("lab_speed: needs root and Go", file=sys.stderr)
        return 2
    figures = {"build": cold()} if given.cold else measure()
    print("\n".join(draw(figures)))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
