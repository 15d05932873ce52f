"""What people read of a Fold: in each phase, with and without a plan, and never what a terminal would obey."""

import json
from pathlib import Path

import pytest
import yaml

from loomidi.conductor.cli import loomidi
from loomidi.conductor.folds import line, story, summary
from loomidi.contracts import LoomidiError, Mode
from loomidi.crypt.keys import PublicKey, SigningKey
from loomidi.fold.operator.views import View
from tests.unit.fold.operator.fakes import POLICY, Stage, a_stage

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = sorted((ROOT / "deployments" / "samples" / "allowed").glob("*.yaml"))


def told(stage: Stage) -> dict[str, str]:
    return {part.heading: part.text for part in story(View(stage.fold), stage.clock.now_ns())}


def test_the_story_of_a_fold_in_force_says_who_what_why_and_until_when() -> None:
    stage = a_stage()
    stage.until("Active")
    parts = told(stage)
    assert parts["Where it is"] == (
        "Active: in force and verified, until its time is up. So for 0 us. Judged by FoldPolicy tests."
    )
    assert "syn rate 5,000 packets/s" in parts["What was seen"]
    assert "203.0.113.7" in parts["What was decided"]
    assert "guards at 2026-" in parts["Who approved"]
    assert "fake applied it" in parts["What was done"]
    assert parts["When it ends"].startswith("It is taken back by itself at 2026-")
    assert "left; sooner by `loomidi fold release`" in parts["When it ends"]


def test_the_story_of_a_fold_that_waits_says_which_brake_holds_it() -> None:
    stage = a_stage()
    stage.policies = [POLICY | {"spec": POLICY["spec"] | {"brakes": {"pause": {"reason": "audit"}}}}]
    stage.once()
    stage.once()
    assert "A brake holds it (Paused). Paused: audit." in told(stage)["Where it is"]
    assert told(stage)["When it ends"].startswith("Nothing was touched.")
    assert summary(View(stage.fold))["held"] == "Paused"


def test_a_list_tells_of_each_fold_in_two_lines() -> None:
    stage = a_stage(Mode.SHADOW)
    first, second = line(View(stage.fold), stage.clock.now_ns()).splitlines()
    assert first == f"default/{stage.plan.id}  new"
    assert second.startswith("  Drop the packets from 203.0.113.7, for 5 min, then it ends by itself.")
    assert second.endswith("Because of syn_flood; mode shadow.")
    stage.until("Expired")
    assert "  Expired 0 us ago\n" in line(View(stage.fold), stage.clock.now_ns())


@pytest.mark.parametrize("sample", [one for one in SAMPLES if "policy" not in one.name], ids=lambda one: one.stem)
def test_every_sample_can_be_told(sample: Path) -> None:
    obj = yaml.safe_load(sample.read_text())
    obj["metadata"].setdefault("namespace", "default")
    parts = [part.heading for part in story(View(obj), 0)]
    assert "Where it is" in parts
    assert "What would be done" in parts
    assert line(View(obj), 0)


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    stage = a_stage()
    evil = "\x1b[2J"
    kept = {name: part for name, part in stage.fold["spec"].items() if name not in ("finding", "plan")}
    spec = kept | {"because": evil, "target": f"host/{evil}"}
    status = {"message": evil, "policy": "p", "conditions": []}
    notes = {"loomidi.io/requested-by": evil, f"approval.loomidi.io/{evil}": ""}
    view = View(
        stage.fold | {"spec": spec, "status": status, "metadata": stage.fold["metadata"] | {"annotations": notes}}
    )
    text = line(view, 0) + "".join(part.text for part in story(view, 0))
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["propose"], "give a FILE, or --kind and --target"),
        (["propose", "--kind", "SCALE_OUT"], "--kind needs --target"),
        (["propose", "none.yaml"], "No such file"),
        (["propose", str(ROOT / "Makefile")], "not YAML"),
        (["propose", str(ROOT / "deployments" / "samples" / "allowed" / "policy-scanners.yaml")], "holds no Fold"),
        (["approve", "x", "--key", "y", "--json"], "--json asks nothing"),
        (["deny", "x", "--reason", " ", "--kubeconfig", "none"], "none"),
        (["list", "--kubeconfig", "none"], "none"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(words: list[str], why: str) -> None:
    with pytest.raises(LoomidiError, match=why) as told:
        loomidi.main(args=["fold", *words], standalone_mode=False)
    assert "\n" not in str(told.value)


def test_keygen_makes_a_key_and_prints_its_public_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key.pem"
    assert loomidi.main(args=["fold", "keygen", str(file)], standalone_mode=False) == 0
    assert PublicKey.of(capsys.readouterr().out.splitlines()[1]) == SigningKey.load(file).public
    other = tmp_path / "other.pem"
    loomidi.main(args=["fold", "keygen", str(other), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["key"] == SigningKey.load(other).public.word
