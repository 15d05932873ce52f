"""Run the benchmarks one after the other and write docs/benchmarks.md: figures beside their targets, machine and date.

Called by `make bench` as `python -m bench.report --run`; without `--run` it writes the page from the figures of the
last run. What was not measured here keeps the section that it has, with its own date and machine. `--go-on` measures
only what was not measured yet by the sources that are there (bench/measured.py). Each script prints a table for people
and takes `--json FILE`; one that this machine cannot carry out prints one line that says why and leaves no figures. The
targets are those of acceptance/, so that a figure has one target in one place.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from bench import measured
from tools.accept import Ran, judge

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".work" / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"
SCRIPTS = (
    "meter_vs_nfstream",
    "analyze_speed",
    "xdp_cost",
    "lossless",
    "decision_to_drop",
    "plans",
    "policy_latency",
    "fold_cut",
    "bus_speed",
    "lake_speed",
    "windows_speed",
    "ingest_speed",
    "pipeline_speed",
    "fold_exact",
    "causes",
    "anomaly_edges",
    "nab",
    "failing",
    "folding",
    "early_words",
    "alert_delay",
)
ML = ("anomaly_edges", "anomaly_speed", "incidents", "early_words", "causes", "nab", "failing", "folding")
"""What `make bench-ml` runs, where it trains: the scripts of B1 to B8, those that are there."""
HEAD = """# Benchmarks

Written by `make bench`. Each script in `bench/` makes its own input, measures beside a peer or a floor in the same run,
and can be run alone. A figure is worth what its machine is worth: compare the columns of one run, not runs of two
machines.
"""


def run(name: str) -> bool:
    """Run one script, show and keep what it prints. False when it left neither figures nor the reason why not."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    figures = RESULTS / f"{name}.json"
    figures.unlink(missing_ok=True)
    print(f"== {name}", flush=True)
    paths = os.pathsep.join((str(ROOT), str(ROOT / "src")))  # where models are trained, loomidi is not installed
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "118", "PYTHONPATH": paths}
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    (RESULTS / f"{name}.txt").write_text(done.stdout)
    measured.note(name, RESULTS)
    return figures.is_file() or bool(reason(name))


def reason(name: str) -> str:
    """What a script said that could not be carried out here; empty when it did not say so."""
    text = (RESULTS / f"{name}.txt").read_text().strip() if (RESULTS / f"{name}.txt").is_file() else ""
    said = text.removeprefix(f"{name}: ")
    return said if said != text and "\n" not in said else ""


def targets(name: str) -> list[dict[str, Any]]:
    """The acceptance entries that are judged by this script's figures, to be judged by those of the last run."""
    documents = [tomllib.loads(path.read_text()) for path in sorted((ROOT / "acceptance").glob("*.toml"))]
    entries = [entry for document in documents for entry in document["entry"]]
    ours = [entry for entry in entries if Path(entry["judge"].get("file", "")).stem.replace("-", "_") == name]
    file = str((RESULTS / f"{name}.json").relative_to(ROOT))
    return [entry | {"judge": entry["judge"] | {"file": file}} for entry in ours]


def section(name: str) -> list[str]:
    """One script: what it is, its figures against their targets, its own table."""
    source = (ROOT / "bench" / f"{name}.py").read_text()
    lines = ["", f"## {name}", "", source.split('"""')[1].strip().splitlines()[0], ""]
    table = RESULTS / f"{name}.txt"
    known = measured.noted(name, RESULTS) if table.is_file() else None  # acceptance leaves figures without a note
    if known is None and (kept := kept_section(name)):
        return kept
    if known is None:
        return [*lines, f"Not measured on this machine: {reason(name) or 'the script left no figures'}."]
    lines += ["| | what | figure | target |", "|---|---|---|---|"]
    lines += [target_row(entry) for entry in targets(name)]
    lines += [f"| **missed** | {line} | | |" for line in missed_lines(name)]
    lines += ["", f"Measured on {known.at}. Machine: {known.machine}."]
    return [*lines, "", "```text", *(line.rstrip() for line in table.read_text().strip("\n").splitlines()), "```"]


def kept_section(name: str) -> list[str]:
    """What the page says of a script by an earlier run; empty when it was never measured."""
    text = PAGE.read_text() if PAGE.is_file() else ""
    _, mark, rest = text.partition(f"\n## {name}\n")
    found = rest.partition("\n## ")[0].rstrip("\n")
    return ["", f"## {name}", *found.split("\n")] if mark and "Measured on" in found else []


def missed_lines(name: str) -> list[str]:
    """What a script itself calls missed, in its words: targets, and peers that are ahead."""
    table = RESULTS / f"{name}.txt"
    lines = table.read_text().splitlines() if table.is_file() else []
    return [line.removeprefix("missed: ") for line in lines if line.startswith("missed: ")]


def told(chosen: list[str], absent: list[str]) -> None:
    """What was missed, script by script, once more at the end of a long run."""
    for name in chosen:
        if why := reason(name):
            print(f"{name} not measured: {why}")
            continue
        for line in missed_lines(name) or ["nothing"]:
            print(f"{name} missed {line}")
    if absent:
        print(f"not in this checkout: {', '.join(absent)}")


def target_row(entry: dict[str, Any]) -> str:
    """One target as met or missed, by the judge of the acceptance run."""
    result = judge(entry, Ran(0, "", 0.0, 0.0))
    return f"| {'met' if result.met else '**missed**'} | {entry['claim']} | {result.figure} | {result.target} |"


def main() -> int:
    """Exit code 1 when a script left no figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", action="store_true", help="measure first")
    there = (*SCRIPTS, *(name for name in ML if name not in SCRIPTS and (ROOT / "bench" / f"{name}.py").is_file()))
    parser.add_argument("--only", choices=there, action="append", help="measure only this one (may be repeated)")
    parser.add_argument("--ml", action="store_true", help="measure those of B1 to B8")
    parser.add_argument("--go-on", action="store_true", help="with --run: leave out what was measured by these sources")
    parser.add_argument("--no-page", action="store_true", help="keep what was measured for the page, and write none")
    given = parser.parse_args()
    chosen = given.only or ([name for name in ML if name in there] if given.ml else there)
    left = [name for name in chosen if not (given.go_on and measured.stands(name, RESULTS))] if given.run else []
    if given.go_on and len(left) < len(chosen):
        print(f"measured already, by these sources: {', '.join(name for name in chosen if name not in left)}")
    ran = [run(name) for name in left]
    if given.ml:
        told([*chosen], [name for name in ML if name not in there])
    if not given.no_page:
        PAGE.write_text(HEAD + "\n".join([line for name in there for line in section(name)]) + "\n")
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if all(ran) else 1


if __name__ == "__main__":
    sys.exit(main())
