"""The pipeline on the lab, held against a recording that is made beside it: nothing is missing, names are right.

Run as root: `python -m tools.loom_on_lab record PLAN FOLDER [SEED]` (PLAN: smoke, standard; an hour for the latter),
then `python -m tools.loom_on_lab judge FOLDER`. In: a lab of its own, the shop, its users; an agent for each node and
`loomidi run` as processes of their own; the recorder. Out: a folder with bus, lake and recording; of these the balance
of the pipeline, and of every flow that ended in a quiet part whether the lake names its two ends as the recording's own
table of entities does; the figures as JSON in FOLDER/figures.json. `judge` exits with 1 when the balance does not add
up or fewer than 99.9 % of the names agree. A recording that is there is not made again.
"""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from loomidi.loom.lake import Lake, LakeSettings
from loomidi_lab.cluster import Lab
from loomidi_lab.recording import load
from tests.integration.pipeline.running import Pipeline, eventually

NAME = "loom"
LINKS = "veth*,lxc*,eth0"
SHARE = 0.999
ROOT = Path(__file__).resolve().parent.parent
_PREFIX = {"Pod": "pod", "Node": "node", "Service": "service", "External": "external"}


def main(arguments: list[str]) -> int:
    """Record, or judge what was recorded."""
    match arguments:
        case ["record", plan, folder, *seed] if len(seed) < 2:
            return record(plan, Path(folder).absolute(), [*seed, "7"][0])
        case ["judge", folder]:
            return judged(Path(folder).absolute())
    print("usage: python -m tools.loom_on_lab record PLAN FOLDER [SEED] | judge FOLDER", file=sys.stderr)
    return 2


def record(plan: str, folder: Path, seed: str) -> int:
    """Bring a lab up, let agents and pipeline watch it through the plan, take it down."""
    if (folder / "ended.json").exists():
        print(f"{folder} holds a recording; remove it to make another")
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lab("down", "--name", NAME)
    lab("up", "--name", NAME)
    pipeline = Pipeline(folder)
    try:
        observe(pipeline, Lab.open(NAME), plan, seed)
    finally:
        pipeline.close()
        lab("down", "--name", NAME)
    return 0


def judged(folder: Path) -> int:
    """The balance over all that the pipeline has written, and names against the recording."""
    ended = json.loads((folder / "ended.json").read_text())
    pipeline = Pipeline(folder)
    figures = books(json.loads(pipeline.loomidi("balance", "--json", code=None))) | ended
    figures |= compared(folder / "recording", Lake(LakeSettings(folder=folder / "lake")))
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    show(figures)
    return 0 if figures["adds_up"] and figures["share"] >= SHARE else 1


def lab(*words: str, check: bool = True) -> int:
    """A command of the lab; its failure is ours unless `check` is false."""
    return subprocess.run([sys.executable, "-m", "loomidi_lab", *words], cwd=ROOT, check=check).returncode


def observe(pipeline: Pipeline, cluster: Lab, plan: str, seed: str) -> None:
    """Record a plan while agents and pipeline watch; then end them in order."""
    pipeline.environment |= {"LOOMIDI_SOURCES_KUBECONFIG": str(cluster.kubeconfig), "LOOMIDI_SOURCES_CLUSTER": NAME}
    pipeline.start()
    eventually(pipeline.ready, "the pipeline")
    for node in cluster.nodes:
        words = ("serve", "agent", *LINKS.split(","), "--netns", node.netns, "--node", node.name)
        places = ("--capture", "sockets", "--state", str(pipeline.folder / node.name))
        pipeline.launch(f"agent-{node.name}", *words, *places)
    recording = pipeline.folder / "recording"
    # A scenario without its symptom spoils the recording's labels, not the pipeline's books: it is told, no more.
    code = lab("record", "--name", NAME, "--plan", plan, "--seed", seed, "--out", str(recording), check=False)
    for node in cluster.nodes:
        assert pipeline.stop(f"agent-{node.name}") == 0, pipeline.log()
    time.sleep(2.0)  # the pipeline counts every second: let it count what it did last
    eventually(lambda: settled(pipeline), "all batches to be committed")
    stopped = pipeline.stop()
    (pipeline.folder / "ended.json").write_text(json.dumps({"recording_exit": code, "pipeline_exit": stopped}))


def books(told: dict[str, Any]) -> dict[str, Any]:
    """What the balance says, in short."""
    packets = sum(each["received"] for each in told["equations"] if each["stage"] == "capture")
    off = [each for each in told["equations"] if not each["holds"]]
    beside = Counter[str]()
    for each in told["equations"]:
        if each["stage"] == "capture":
            beside.update({reason: count for reason, count in each["parts"].items() if reason != "accounted"})
    found = {"adds_up": told["adds_up"], "packets": packets, "links": captures(told), "off": off}
    return found | {"in_no_flow": dict(beside)}


def captures(told: dict[str, Any]) -> int:
    """Links in the balance."""
    return sum(each["stage"] == "capture" for each in told["equations"])


def settled(pipeline: Pipeline) -> dict[str, Any]:
    """The balance once nothing waits for a committer; it need not add up."""
    told: dict[str, Any] = json.loads(pipeline.loomidi("balance", "--json", code=None) or "{}")
    waits = any(
        each["stage"] == "bus" and each["note"] for each in told.get("equations", [{"stage": "bus", "note": "x"}])
    )
    return {} if waits else told


def compared(folder: Path, lake: Lake) -> dict[str, Any]:
    """Every end of every flow of the lake that ended in a quiet span, against the recording's table of entities."""
    recording = load(folder)
    counts, examples = Counter[str](), Counter[str]()
    for begin_ns, end_ns in recording.quiet():
        names = ["flow_end_nanoseconds"]
        names += [f"{end}_{what}" for end in ("source", "destination") for what in ("ip_address", "entity")]
        flows = lake.read("flows", columns=names)
        ends = flows["flow_end_nanoseconds"].cast(pa.int64()).to_pylist()
        for end in ("source", "destination"):
            columns = (flows[f"{end}_ip_address"].to_pylist(), flows[f"{end}_entity"].to_pylist(), ends)
            for address, said, at_ns in zip(*columns, strict=True):
                if begin_ns <= at_ns < end_ns:
                    judge(recording.entity_at(address, at_ns), (address, said), counts, examples)
    total = counts["same"] + counts["different"]
    return {
        "ends": total,
        "share": counts["same"] / total if total else 0.0,
        "nobody": counts["nobody"],
        "different": dict(examples.most_common(10)),
    }


def judge(answer: Any, said: tuple[str, str | None], counts: Counter[str], examples: Counter[str]) -> None:
    """One end. Addresses that the recording knows nobody at, or only a range of the outside, are counted apart."""
    if answer is None or answer.how == "range" or answer.row["kind"] not in ("Pod", "Node", "Service"):
        counts["nobody"] += 1
        return
    row = answer.row
    middle = f"{row['namespace']}/" if row["kind"] != "Node" else ""
    wanted = f"{_PREFIX[row['kind']]}/{middle}{row['name']}"
    counts["same" if said[1] == wanted else "different"] += 1
    if said[1] != wanted:
        examples[f"{said[0]}: {said[1]} instead of {wanted}"] += 1


def show(figures: dict[str, Any]) -> None:
    """For people, and for the judge of the acceptance page."""
    verdict = "adds up" if figures["adds_up"] else "DOES NOT ADD UP"
    if figures["recording_exit"]:
        print(f"the recording itself ended with {figures['recording_exit']}: see `loomidi-lab verify`")
    print(f"{figures['packets']} packets on {figures['links']} links: the balance {verdict}")
    reasons = ", ".join(f"{count} {reason}" for reason, count in figures["in_no_flow"].items())
    print(f"  of these in no flow, by reason: {reasons or 'none'}")
    for each in figures["off"]:
        print(f"  off: {each}")
    print(f"{figures['ends']} ends of quiet flows, {figures['share']:.4%} named as in the recording")
    for line, times in figures["different"].items():
        print(f"  {times} x {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
