"""The page of a model: drawn from a document of the published schema, nothing runs in it, absent figures say so."""

import copy
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loomidi.contracts.errors import InputError
from loomidi.insight.report.model_page import model_page
from loomidi.origami.train import FitSettings, GateSettings, document, fit, judge, try_out
from loomidi.services.anomalies.modelling import drift_of
from tests.unit.origami.lives import stream

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "model-report.schema.json").read_text())
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real document, with every part that a run can have."""
    of = stream(20)
    one = fit(of, FitSettings(), 0, tmp_path_factory.mktemp("page") / "model")
    trial = try_out(one.model, of)
    found = document(one.model, of, trial, 1e-3) | {"drift": drift_of(of, trial, 1e-3)}
    rows = [{"seed": seed, "seconds": 0.1, "alarms": 1.0, "recall_at_0.001": 0.5 + seed / 10} for seed in range(3)]
    found |= {"seeds": rows, "gate": judge(of, trial, trial, GateSettings()).as_dict()}
    found["ablations"] = [{"name": "without gaps", "features": ["edge_gap_s"], "alarms": 1.0, "recall_at_0.001": 0.2}]
    return json.loads(json.dumps(found))


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_real_trial_keeps_the_published_schema(told: dict[str, Any]) -> None:
    jsonschema.validate(told, SCHEMA)


def test_the_page_shows_every_part(told: dict[str, Any]) -> None:
    read = Reader(model_page(told))
    assert read.open == []
    assert sum(tag == "svg" for tag, _ in read.tags) == 8
    for said in ("Wilson", "real base rate", "scan", "lateral", "without gaps", "nominal", "mean", "worst", "PSI"):
        assert said in read.text
    assert "Not measured" not in read.text.replace("Not measured: drift of scores", "")


def test_what_was_not_measured_says_so(told: dict[str, Any]) -> None:
    parts = ("precision_recall", "families", "delay", "seeds", "ablations", "gate", "misses", "at")
    bare = {name: value for name, value in told.items() if name not in parts}
    jsonschema.validate(bare, SCHEMA)
    assert Reader(model_page(bare)).text.count("Not measured") >= 7


def test_nothing_is_loaded_and_hostile_text_stays_text(told: dict[str, Any]) -> None:
    evil = copy.deepcopy(told)
    evil["model"]["name"] = evil["data"]["source"] = evil["gate"]["because"] = EVIL
    evil["families"][0]["family"] = evil["ablations"][0]["name"] = EVIL
    evil["drift"]["psi"][EVIL] = 9.0
    evil["misses"] = [{"family": EVIL, "edges": 1, "p_value": 1.0, "at_ns": 1, "source": EVIL, "destination": EVIL}]
    page = model_page(evil)
    read = Reader(page)
    assert sum(tag == "script" for tag, _ in read.tags) == 1
    assert not {
        name for _, attrs in read.tags for name in attrs if name.startswith("on") or name in ("src", "style", "href")
    }
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page
    assert "unsafe" not in page


@pytest.mark.parametrize("broken", [{}, {"format": 2}, {"format": 1, "model": {}}])
def test_what_is_no_document_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="evaluate"):
        model_page(broken)


def test_a_damaged_document_is_one_line(told: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="damaged document"):
        model_page(told | {"calibration": [{"nominal": "x"}]})
