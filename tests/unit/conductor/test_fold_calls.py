"""`loomidi fold radius` and reports from the command line: what is said, and by which exit code."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import yaml

from loomidi.conductor.cli import guarded, loomidi
from loomidi.conductor.fold_calls import MODES, _told
from loomidi.contracts import Mode
from loomidi.fold.promoting import report
from loomidi.fold.resources import fold_object
from tests.unit.fold.test_promoting import POLICY, a_fold
from tests.unit.ionic.making import NOW_NS, a_plan


def run(*words: str, code: int) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = guarded(lambda: loomidi.main(args=[*words], standalone_mode=False))
    assert found == code, (out.getvalue(), err.getvalue())
    return out.getvalue() + err.getvalue()


def test_the_modes_are_those_of_the_contracts() -> None:
    assert list(MODES) == [mode.value for mode in Mode]


@pytest.mark.parametrize("form", ["Fold", "plan", "sample"])
def test_a_lake_that_holds_nothing_is_unknown_for_a_fold_a_plan_and_a_sample(tmp_path: Path, form: str) -> None:
    plan, file = a_plan("drop"), tmp_path / "given.yaml"
    documents = {"Fold": fold_object(plan, "default"), "plan": plan.as_dict(), "sample": {"plan": plan.as_dict()}}
    file.write_text(yaml.safe_dump(json.loads(json.dumps(documents[form]))))
    told = json.loads(run("fold", "radius", str(file), "--lake", str(tmp_path / "lake"), "--json", code=1))
    assert told["fold"] == json.loads(json.dumps(plan.fold.as_dict()))
    assert (told["replay"]["state"], "holds no flows" in told["replay"]["why"]) == ("unknown", True)


@pytest.mark.parametrize(
    ("text", "words", "why"),
    [
        ("a: [", (), "neither YAML nor JSON"),
        ("7", (), "holds neither a Fold nor a plan"),
        ("{}", (), "plan.id: missing"),
        ("{}", ("--protect", "nonsense"), "no address or CIDR"),
    ],
)
def test_what_cannot_be_read_is_told_with_exit_code_2(
    tmp_path: Path, text: str, words: tuple[str, ...], why: str
) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(text)
    assert why in run("fold", "radius", str(file), "--lake", str(tmp_path / "lake"), *words, code=2)


def test_a_report_is_told_with_its_verdict() -> None:
    ready = _told(report(POLICY, [a_fold()], NOW_NS))
    assert "1 Folds: 1 would have acted, 0 acted" in ready
    assert ready.endswith("ready for the next mode")
    assert "not ready, because no Fold was judged by it" in _told(report(POLICY, [], NOW_NS))
