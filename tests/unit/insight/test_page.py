"""The HTML page: one file, nothing from outside runs in it, whatever a capture or a file is called."""

import dataclasses
import html.parser
import re

import pytest

from loomidi.contracts.records import Evidence, Match, Severity
from loomidi.insight.report import Link, Report
from loomidi.insight.report.page import page
from tests.unit.insight.specimens import FINDING, report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><a href=javascript:alert(3)>&lt;"


class Reader(html.parser.HTMLParser):
    """Collects every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> Report:
    """A report in which everything that can come from outside is an attack on the page."""
    finding = dataclasses.replace(
        FINDING,
        entities=(f"host/{EVIL}", f"service/{EVIL}:1/tcp"),
        evidence=(Evidence(EVIL, EVIL, EVIL, EVIL, EVIL),),
        source=EVIL,
        techniques=(EVIL,),
        id=EVIL,
        pattern=EVIL,
    )
    found = report(findings=(finding,), path=EVIL, problems=(EVIL,))
    fold = dataclasses.replace(
        found.folds[0].fold, target=EVIL, undo=EVIL, because=EVIL, manifest={EVIL: EVIL}, match=Match(source=EVIL)
    )
    plan = dataclasses.replace(
        found.folds[0].plan,
        blast_radius=dataclasses.replace(found.folds[0].plan.blast_radius, bystanders=(f"host/{EVIL}",)),
    )
    verdicts = (dataclasses.replace(found.folds[0].verdicts[0], allow=False, guard=EVIL, rule=EVIL, reason=EVIL),)
    proposed = dataclasses.replace(found.folds[0], fold=fold, plan=plan, verdicts=verdicts)
    links = (Link(f"host/{EVIL}", f"host/{EVIL}2", 1, 1, 1, 1, (EVIL,)),)
    talkers = (dataclasses.replace(found.talkers[0], entity=f"host/{EVIL}"),)
    balance = dataclasses.replace(found.balance, reasons={EVIL: (1, 1)})
    return dataclasses.replace(found, folds=(proposed,), links=links, talkers=talkers, balance=balance, version=EVIL)


def test_hostile_text_stays_text() -> None:
    read, plain = Reader(page(hostile())), Reader(page(report()))
    assert {tag for tag, _ in read.tags} <= {tag for tag, _ in plain.tags} | {"ul", "li", "p"}
    assert sum(tag == "script" for tag, _ in read.tags) == 1
    assert "alert(1)" in read.text


@pytest.mark.parametrize("found", [report(), hostile()], ids=["plain", "hostile"])
def test_nothing_is_loaded_and_no_attribute_runs(found: Report) -> None:
    for tag, attributes in Reader(page(found)).tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "srcdoc")}, tag
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert "url(" not in page(report())
    assert not re.search(r"https?://|@import", page(report()))


def test_the_policy_lets_run_only_what_it_knows_by_hash() -> None:
    policy = next(a["content"] for tag, a in Reader(page(hostile())).tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2


def test_a_report_shows_timeline_graph_findings_folds_talkers_and_balance() -> None:
    text = page(report())
    for heading in ("Traffic", "Findings", "Who talked to whom", "Proposed folds", "Top talkers", "Balance"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == 2
    assert 'class="lane medium"' in text
    assert 'class="node first"' in text
    assert "kind: NetworkPolicy" in text


def test_links_inside_the_page_lead_somewhere() -> None:
    read = Reader(page(report()))
    ids = {attributes.get("id") for _, attributes in read.tags}
    targets = {attributes["href"] for tag, attributes in read.tags if tag == "a"}
    assert {f"#{name}" for name in ids} >= targets
    assert targets


def test_an_empty_capture_gives_a_page_too() -> None:
    found = report(findings=())
    empty = dataclasses.replace(
        found, flows=type(found.flows)(), folds=(), links=(), talkers=(), protocols={}, entities=()
    )
    assert "No flow was read." in page(empty)
    assert "Nothing above info was found" in page(empty)


def test_a_thousand_findings_stay_a_page_that_opens() -> None:
    findings = tuple(dataclasses.replace(FINDING, id=f"finding-{at:016x}", severity=Severity.LOW) for at in range(1000))
    text = page(report(findings=findings))
    assert len(text) < 2_000_000
    assert "And 800 findings more" in text
