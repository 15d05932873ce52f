"""A mistake in a scenario file is told in one clear line with its place; nothing unknown is let through."""

import json
import textwrap
from pathlib import Path

import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi_lab.staging import loading
from tests.unit.lab.staging.conftest import MINIMAL

TEXT = textwrap.dedent(
    """\
    name: sample
    category: attack
    family: scan
    technique: T1046
    title: A sample
    description: Something that happens in tests.
    duration_s: 1
    needs: {shop: false}
    truth:
      sources: []
      victims: []
      fold:
        right: [{kind: NONE, why: it is only a test}]
        harmful: [{kind: SCALE_OUT, why: it is only a test}]
    phases:
      act:
        - wait: {seconds: 0}
      undo: []
    symptoms:
      - name: always
        command: {at: host, script: "true", code: 0}
    """
)


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(loading.BadScenario) as caught:
        loading.parse(text, Path("sample/scenario.yaml"))
    return caught.value.mistakes


def test_the_sample_is_good() -> None:
    assert loading.parse(TEXT, Path("sample/scenario.yaml")).technique == "T1046"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("- wait:", "- wiat:", "scenario.yaml:17:7: unknown key `wiat` in phases.act[0]; did you mean `wait`?"),
        ("seconds: 0", "second: 0", "17:14: unknown key `second` in phases.act[0].wait; did you mean `seconds`?"),
        ("attack", "atack", "2:1: `atack` is not known; did you mean `attack`? in category"),
        ("technique: T1046", "technique: port scan", "is not written as it has to be"),
        ("technique: T1046\n", "", "an attack needs `technique`"),
        ("category: attack", "category: benign", "only an attack has a `technique`"),
        ("name: sample", "name: other", "1:1: the name 'other' must be that of its folder, 'sample'"),
        ("shop: false", "shop: maybe", "'maybe' is no boolean in needs.shop"),
        ("duration_s: 1\n", "duration_s: ${secs}\n", "`${secs}` is no parameter"),
        ("code: 0", "code: 0}\n    log: {of: {kind: Pod, name: a}, matches: x", "exactly one measurement"),
        ("- wait: {seconds: 0}", "- apply: {file: gone.yaml}", "gone.yaml is not in sample/; add it"),
        ("- wait: {seconds: 0}", "- python: {call: go}", "a python step needs act.py in sample/"),
        (
            "shop: false}\n",
            "shop: false}\nuses: [gone.py]\n",
            "no scenario shares gone.py; there is collector.py, proxy.py",
        ),
        ("undo: []\n", "undo: []\nparameters: {n: {integer: [5, 2]}}\n", "`n` goes from 5 down to 2; swap them"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(old: str, new: str, told: str) -> None:
    text = TEXT.replace("parameters", "parameters") if old not in TEXT else TEXT.replace(old, new, 1)
    if "parameters" in new:
        text = TEXT.replace("phases:", "parameters: {n: {integer: [5, 2]}}\nphases:")
    found = mistakes(text)
    assert any(told in line for line in found), found
    assert all("\n" not in line and line.startswith("sample/scenario.yaml:") for line in found)


def test_a_shared_payload_is_found_and_may_not_lie_in_the_folder_too(tmp_path: Path) -> None:
    text = TEXT.replace("phases:", "uses: [proxy.py]\nphases:").replace(
        "- wait: {seconds: 0}", "- outside: {program: proxy.py, deadline_s: 1}"
    )
    path = tmp_path / "sample" / "scenario.yaml"
    path.parent.mkdir()
    found = loading.parse(text, path)
    assert found.payload("proxy.py") == loading.SCENARIOS / "_shared" / "proxy.py"
    assert found.payload("own.py") == path.parent / "own.py"
    (path.parent / "proxy.py").touch()
    with pytest.raises(loading.BadScenario, match=r"proxy.py is in sample/ too; keep one of both"):
        loading.parse(text, path)


def test_several_mistakes_are_all_told() -> None:
    found = mistakes(TEXT.replace("family", "famly").replace("seconds", "secnds"))
    assert len(found) >= 3


def test_broken_yaml_is_told_with_line_and_column() -> None:
    with pytest.raises(InputError, match=r"sample/scenario.yaml:2:\d+: "):
        loading.parse("name: sample\n  bad: [\n", Path("sample/scenario.yaml"))


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r":22:1: `name` is given twice"):
        loading.parse(TEXT + "name: sample\n", Path("sample/scenario.yaml"))


def test_an_empty_file_is_told() -> None:
    with pytest.raises(InputError, match="the file is empty"):
        loading.parse("", Path("sample/scenario.yaml"))


def test_a_list_instead_of_a_mapping_is_told() -> None:
    assert "is no object" in mistakes("- a\n")[0]


def test_an_unknown_scenario_names_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean scan-services"):
        loading.load("scan-service")


@pytest.mark.parametrize("name", ["../scan-services", "", "Scan", "scan-services/"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="there is no scenario"):
        loading.load(name)


def test_names_are_folders_with_a_scenario(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scenario.yaml").write_text(json.dumps({**MINIMAL, "name": name}))
    (tmp_path / "empty").mkdir()
    assert loading.names(tmp_path) == ["a", "b"]
    assert loading.load("a", tmp_path).name == "a"
