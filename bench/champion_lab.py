"""A champion in the live pipeline of the lab: learned from its own lake, past the gate, then scoring the plan `smoke`.

In: a lab (its own is brought up where none of the name is), the environment of `make train-tools`. `loomidi run`
watches the shop and its users for `--minutes`; `loomidi model train lake` and `promote` make its lake a champion, or
the gate refuses; the pipeline goes on from its state under the champion, calibrates it, sees minutes in which nothing
happens, and then every scenario of the plan. Out: what was told of each, by the champion or by rules, beside how the
gate was passed. Exit 1 where the champion did not score, an attack or failure was not told with its cause and in words,
something was told of nothing, or rules told more than one look-alike.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.folding_lab import lab_with_shop, say
from loomidi_lab.drills.noticing import noticing
from loomidi_lab.drills.scenes import learning
from loomidi_lab.drills.telling import Told, about, guilty, involved
from loomidi_lab.recording.planning import load_plan
from loomidi_lab.staging import loading

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.drills.noticing import Noticing

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".work" / "bench" / "champion_lab"
TRAINED_BY = Path.home() / ".cache" / "loomidi"  # `train-` and the hash of the lock: see TRAIN in the Makefile
SEED = 7
SETTINGS = learning(8.0, quiet_s=60.0)
SHARES = ("--train-share", "0.25", "--calibrate-share", "0.25")  # half is left for the gate: ten alarms to expect
WATCHED_S = 120.0  # under the champion, of users and nothing else
TOLD_WITHIN_S = 60.0
NAMES = [name for wish in load_plan("smoke").wishes for name in wish.names]
Row = dict[str, Any]


def trainer() -> Path:
    """The Python with torch and MLflow. Exits 1 where there is none."""
    lock = hashlib.sha256((ROOT / "requirements-train.lock").read_bytes()).hexdigest()[:12]
    python = TRAINED_BY / f"train-{lock}" / "venv" / "bin" / "python"
    if not python.exists():
        sys.exit("nothing here trains models; run `make train-tools` first")
    return python


def promoted(folder: Path, kind: str) -> str:
    """The gate's answer, line by line. Exits 1 where it refused."""
    model = [str(trainer()), "-W", "ignore", "-m", "loomidi", "model"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "LOOMIDI_STORAGE_STATE": str(folder / "state")}
    data = ["lake", "--lake", str(folder / "lake"), *SHARES]
    subprocess.run([*model, "train", *data, "--kind", kind], env=environment, check=True)
    done = subprocess.run([*model, "promote", *data], check=False, env=environment, capture_output=True, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"the gate let nobody pass: {done.stderr.strip() or 'see above'}")
    return done.stdout


def alarms(told: list[Told]) -> list[Told]:
    """More than information, told for the first time."""
    return [one for one in told if one.alarm and one.state == "new"]


def by_champion(told: list[Told]) -> int:
    """Of these, what the champion told, by itself or beside a rule."""
    return sum(":champion-" in one.source for one in told)


def tried(seen: "Noticing", name: str) -> Row:
    """One scenario, and what was told of it."""
    began_ns, calm = time.time_ns(), loading.load(name).category == "benign"
    run = seen.play(name, SEED, say)
    everybody, cause = involved(run), guilty(run)

    def enough(told: list[Told]) -> bool:
        mine = about(told, everybody)
        return not calm and bool(alarms(mine)) and any(one.blames(cause) for one in mine)

    told = seen.await_told(began_ns, enough, TOLD_WITHIN_S)
    mine = about(told, everybody)
    loud = [one for one in alarms(told) if one.pattern != "anomaly"]
    for one in mine or told:
        say(one.line())
    return {
        "scenario": name,
        "calm": calm,
        "valid": run.valid,
        "told": bool(alarms(mine)),
        "blamed": any(one.blames(cause) for one in mine),
        "by_champion": by_champion(mine),
        "rules": len(loud),
        "what": sorted({f"{one.pattern} by {one.source}" for one in mine}),
    }


def under_champion(lab: "Lab", folder: Path) -> tuple[list[Told], list[Row]]:
    """What was told of nothing, then of each scenario."""
    with noticing(lab, SETTINGS, SEED, say, folder=folder) as seen:
        seen.await_telling()
        say("the champion tells")
        began_ns = time.time_ns()
        time.sleep(WATCHED_S)
        quiet = alarms(seen.told(began_ns))
        rows = [tried(seen, name) for name in NAMES]
        print(seen.figures())
        return quiet, rows


def missed(quiet: list[Told], rows: list[Row]) -> list[str]:
    """In words."""
    lines = [f"told of nothing: {one.line()}" for one in quiet]
    lines += [f"{row['scenario']}: did not take place" for row in rows if not row["valid"]]
    wrong = [row for row in rows if row["valid"] and not row["calm"]]
    lines += [f"{row['scenario']}: not told" for row in wrong if not row["told"]]
    lines += [f"{row['scenario']}: told, another is blamed" for row in wrong if row["told"] and not row["blamed"]]
    loud = [row["scenario"] for row in rows if row["calm"] and row["rules"]]
    lines += [f"look-alikes that rules told: {', '.join(loud)}"] * (len(loud) > 1)
    lines += ["the champion told nothing"] * (not any(row["by_champion"] for row in rows))
    return lines


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--name", default="champion", help="which lab")
    parser.add_argument("--minutes", type=float, default=20.0, help="of windows to learn from, and for the gate")
    parser.add_argument("--kind", default="robust-norm", help="of model")
    parser.add_argument("--json", type=Path, default=FOLDER.parent / "champion_lab.json", help="where the figures go")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    trainer()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with lab_with_shop(given.name) as lab:
        with noticing(lab, SETTINGS, SEED, say, folder=FOLDER):
            time.sleep(60.0 * given.minutes)
        gate = promoted(FOLDER, given.kind)
        quiet, rows = under_champion(lab, FOLDER)
    for row in rows:
        print(f"{row['scenario']}: told {row['told']}, blamed {row['blamed']}; {'; '.join(row['what']) or 'nothing'}")
    lines = missed(quiet, rows)
    wrong, alike = ([row for row in rows if row["calm"] is calm] for calm in (False, True))
    told = sum(row["told"] and row["blamed"] for row in wrong)
    champion, calm = (sum(bool(row["by_champion"]) for row in some) for some in (wrong, alike))
    print(f"told with the cause {told}/{len(wrong)}, by the champion {champion}; of nothing {len(quiet)}")
    print(f"look-alikes that are strange to the champion {calm}/{len(alike)}")
    print("missed: " + "; ".join(lines) if lines else "the champion scores, and everything was told")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    flat = {"told": told, "of": len(wrong), "by_champion": champion, "of_nothing": len(quiet), "missed": lines}
    flat |= {"look_alikes": len(alike), "strange_look_alikes": calm}
    given.json.write_text(json.dumps(flat | {"gate": gate, "rows": rows}))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
