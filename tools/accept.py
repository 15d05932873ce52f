"""Run an acceptance file: every promise of a release, each judged by a command, met or missed.

Called by `make accept NAME=main-job` as `python -m tools.accept main-job`. In: acceptance/NAME.toml. Out: progress on
standard output, docs/acceptance/NAME.md, exit code 0 when all is met, 1 when something is missed (the page is written
all the same), 2 when the file makes no sense. The page is renewed after each entry from what is known: the results of
this run and, after `--only`, the last ones of the other entries. They are kept beside the page with their commit and
time, docs/acceptance/NAME.jsonl: a page of many hours may be judged on several days. An entry that was never judged
counts as missed.

An entry has `id`, `section`, `claim`, `command` and `judge`; commands that are equal run once. Judges:
  {kind = "exit0"}                                      the command ends with 0
  {kind = "regex", pattern, [target]}                   its output matches; the first group is the figure
  {kind = "json", file, path, equals}                   a value in the JSON that the command wrote
  {kind = "max" | "min", file, path, limit, unit}       a number there, at most or at least the limit
`limit_path` in place of `limit` takes the limit from the same file: a peer measured in the same run. `path` is dotted;
in a list it takes a row by number or by the start of its `name`. `reason` names why a target is known to be missed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from tools.machine import machine

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 1800


@dataclasses.dataclass(frozen=True)
class Ran:
    """How one command ended."""

    code: int
    output: str
    started: float  # seconds since the epoch
    seconds: float


@dataclasses.dataclass(frozen=True)
class Judged:
    """One entry of the page."""

    entry: dict[str, Any]
    met: bool
    figure: str
    target: str
    seconds: float
    commit: str = ""
    at: str = ""  # UTC, to the minute


def run(command: str, timeout_s: float) -> Ran:
    """Run a shell command from the root of the project in its own process group; a timeout ends the whole group."""
    started = time.time()
    process = subprocess.Popen(
        ["env", "--default-signal=INT", "sh", "-c", command],  # as at a prompt, also from a background job
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env=environment(),
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        output, code = f"{output}\nended after {timeout_s:.0f} s", 124
    return Ran(code, output, started, time.time() - started)


def environment() -> dict[str, str]:
    """Ours, with the folder of captures absolute, so that a clone elsewhere finds it; our own environment first."""
    data = Path(os.environ.get("LOOMIDI_DATA", ROOT.parent / "shared" / "data")).resolve()
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "LOOMIDI_DATA": str(data), "PATH": path, "COLUMNS": "160"}


class BadFile(Exception):
    """The acceptance file cannot be used as written."""


class CannotJudge(Exception):
    """The figure that an entry needs is not there."""


def value_at(ran: Ran, file: str, path: str) -> Any:
    """The value at a dotted path in a JSON file that this run wrote."""
    where = ROOT / file
    if not where.is_file() or where.stat().st_mtime < ran.started - 1:
        raise CannotJudge(f"{file} was not written (exit code {ran.code})")
    value = json.loads(where.read_text())
    for name in path.split("."):
        try:
            value = named(value, name) if isinstance(value, list) else value[name]
        except (KeyError, IndexError, TypeError):
            raise CannotJudge(f"{file} has no {path}") from None
    return value


def named(rows: list[Any], name: str) -> Any:
    """The row of that number, or the first whose `name` starts so. Raises IndexError."""
    fitting = [row for row in rows if isinstance(row, dict) and str(row.get("name", "")).startswith(name)]
    return rows[int(name)] if name.isdigit() else fitting[0]


def by_exit(ran: Ran, _judge: dict[str, Any]) -> tuple[bool, str, str]:
    """Met when the command ends with 0."""
    if ran.code:
        last = [line.strip() for line in ran.output.splitlines() if line.strip()][-1:]
        return False, f"exit code {ran.code}{': ' + last[0][:120] if last else ''}", "exit code 0"
    return True, "exit code 0", "exit code 0"


def by_regex(ran: Ran, judge: dict[str, Any]) -> tuple[bool, str, str]:
    """Met when the command ends with 0 and its output matches."""
    found = re.search(judge["pattern"], ran.output, re.MULTILINE)
    target = judge.get("target", "as written")
    if not found:
        return False, f"no match (exit code {ran.code})", target
    return ran.code == 0, found.group(found.lastindex or 0), target


def by_json(ran: Ran, judge: dict[str, Any]) -> tuple[bool, str, str]:
    """Met when the value equals the expected one."""
    value = value_at(ran, judge["file"], judge["path"])
    return value == judge["equals"], shown(value), shown(judge["equals"])


def by_limit(ran: Ran, judge: dict[str, Any]) -> tuple[bool, str, str]:
    """Met when the number keeps the limit, which may be a peer's figure from the same file."""
    value = value_at(ran, judge["file"], judge["path"])
    limit = value_at(ran, judge["file"], judge["limit_path"]) if "limit_path" in judge else judge["limit"]
    if not all(isinstance(number, int | float) for number in (value, limit)):
        raise CannotJudge(f"{judge['path']} is {value!r}, the limit {limit!r}: no two numbers")
    met = value <= limit if judge["kind"] == "max" else value >= limit
    unit = f" {judge['unit']}" if judge.get("unit") else ""
    sign = "<=" if judge["kind"] == "max" else ">="
    return met, f"{shown(value)}{unit}", f"{sign} {shown(limit)}{unit}"


def shown(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


JUDGES = {"exit0": by_exit, "regex": by_regex, "json": by_json, "max": by_limit, "min": by_limit}


def judge(entry: dict[str, Any], ran: Ran) -> Judged:
    """Apply the entry's judge; what cannot be judged is missed."""
    try:
        met, figure, target = JUDGES[entry["judge"]["kind"]](ran, entry["judge"])
    except (CannotJudge, json.JSONDecodeError) as error:
        met, figure, target = False, str(error), shown(entry["judge"].get("limit", "a figure"))
    return Judged(entry, met, figure, target, ran.seconds, commit(), dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M"))


def commit() -> str:
    """The short id of what is checked out, with a plus when something tracked was changed since, results apart."""
    short = git("rev-parse", "--short", "HEAD").stdout.strip()
    return f"{short}+" if git("diff", "--quiet", "HEAD", "--", ".", ":!docs/acceptance").returncode else short


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask git about the project."""
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False)


def store(name: str) -> Path:
    """Where the last results of an acceptance file are kept, one line each."""
    return ROOT / "docs" / "acceptance" / f"{name}.jsonl"


def remember(name: str, result: Judged) -> None:
    """Keep a result for later pages, in place of the one before. Two runs may judge different entries side by side."""
    target = store(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        kept = {line["entry"]: line for line in map(json.loads, file)}
        kept[result.entry["id"]] = {
            **dataclasses.asdict(result),
            "entry": result.entry["id"],
            "command": result.entry["command"],
        }
        file.truncate(0)
        file.write("".join(json.dumps(kept[entry]) + "\n" for entry in sorted(kept)))


def recall(document: dict[str, Any]) -> list[Judged]:
    """The last result of each entry whose command has not changed since."""
    source = store(document["name"])
    lines = source.read_text().splitlines() if source.is_file() else []
    last = {(kept["entry"], kept.pop("command")): kept for kept in map(json.loads, lines)}
    never = {"met": False, "figure": "not judged yet", "target": "", "seconds": 0.0}
    entries = document["entry"]
    return [Judged(**{**last.get((e["id"], e["command"]), never), "entry": e}) for e in entries]


def page(document: dict[str, Any], results: list[Judged]) -> str:
    """The Markdown page."""
    missed = [result for result in results if not result.met]
    lines = [
        f"# Acceptance: {document['title']}",
        "",
        f"Written by `make accept NAME={document['name']}` on {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC.",
        f"Machine: {machine()}. Judged at commit {', '.join(sorted({r.commit for r in results if r.commit}))}.",
        "",
        f"**{len(results) - len(missed)} of {len(results)} met"
        + (f", {len(missed)} missed:** {', '.join(result.entry['id'] for result in missed)}." if missed else ".**"),
    ]
    for section in dict.fromkeys(result.entry["section"] for result in results):
        lines += ["", f"## {section}", "", "| | what | figure | target |", "|---|---|---|---|"]
        lines += [row(result) for result in results if result.entry["section"] == section]
    if missed:
        lines += ["", "## Missed, and why", ""]
        lines += [f"- **{r.entry['id']}**: {r.entry.get('reason', 'not known yet')}" for r in missed]
    lines += ["", "## How each is judged", ""]
    for command in dict.fromkeys(result.entry["command"] for result in results):
        entries = [result for result in results if result.entry["command"] == command]
        ids = ", ".join(result.entry["id"] for result in entries)
        first = entries[0]
        when = f"{first.seconds:.0f} s, {first.at} UTC, {first.commit}" if first.at else "not yet"
        lines.append(f"- {ids}: `{' '.join(command.split())}` ({when})")
    return "\n".join(lines) + "\n"


def row(result: Judged) -> str:
    """One line of the table."""
    cells = [cell.replace("|", "\\|") for cell in (result.entry["claim"], result.figure, result.target)]
    return f"| {'met' if result.met else '**missed**'} | {' | '.join(cells)} |"


def read(name: str) -> dict[str, Any]:
    """The acceptance file, checked. Raises BadFile."""
    source = ROOT / "acceptance" / f"{name}.toml"
    if not source.is_file():
        known = ", ".join(sorted(path.stem for path in source.parent.glob("*.toml")))
        raise BadFile(f"there is no acceptance/{name}.toml; there is: {known}")
    document = tomllib.loads(source.read_text())
    seen = set()
    for entry in document["entry"]:
        lacking = {"id", "section", "claim", "command", "judge"} - set(entry)
        if lacking or entry["id"] in seen or entry["judge"].get("kind") not in JUDGES:
            raise SystemExit(
                f"accept: entry {entry.get('id', '?')} lacks {sorted(lacking)}, is double or has no known judge"
            )
        seen.add(entry["id"])
    return {"name": name, **document}


def main(arguments: list[str]) -> int:
    """Run, print, write the page. `--only ID,ID` judges some entries anew; the others keep their last result."""
    only = set(arguments[2].split(",")) if len(arguments) == 3 and arguments[1] == "--only" else None
    if len(arguments) not in (1, 3) or (len(arguments) == 3 and only is None):
        print("usage: accept.py NAME [--only ID,ID]", file=sys.stderr)
        return 2
    try:
        document = read(arguments[0])
    except (BadFile, tomllib.TOMLDecodeError) as error:
        print(f"accept: {error}", file=sys.stderr)
        return 2
    entries = [entry for entry in document["entry"] if only is None or entry["id"] in only]
    (ROOT / ".work").mkdir(exist_ok=True)
    done: dict[str, Ran] = {}
    results = []
    for number, entry in enumerate(entries, 1):
        command = entry["command"]
        if command not in done:
            print(f"[{number}/{len(entries)}] {' '.join(command.split())[:140]}", flush=True)
            done[command] = run(command, entry.get("timeout_s", TIMEOUT_S))
            (ROOT / ".work" / f"accept-{entry['id']}.log").write_text(done[command].output)
        results.append(judge(entry, done[command]))
        last = results[-1]
        print(f"  {'met   ' if last.met else 'MISSED'} {entry['id']}: {last.figure} (target {last.target})", flush=True)
        remember(document["name"], last)
        target = write(document)
    missed = sum(not result.met for result in results)
    print(f"{len(results) - missed} met, {missed} missed")
    if results:
        print(f"written: {target.relative_to(ROOT)}")
    return 1 if missed else 0


def write(document: dict[str, Any]) -> Path:
    """The page, from the last result of each entry."""
    target = ROOT / "docs" / "acceptance" / f"{document['name']}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(document, recall(document)))
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
