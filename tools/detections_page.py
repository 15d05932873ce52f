"""Write docs/detections.md: what is detected, how, and how that fares on real captures.

Run by hand (`python tools/detections_page.py`) and by the acceptance run. In: `rules/detections`, the archives `ddos`
and `ndpi` under LOOMIDI_DATA (default ../shared/data; unpacked once per user). Out: the page; exit 1 when a flood was
missed or more than 3 % of nDPI's captures raise a false finding, exit 2 when an archive is absent.
"""

import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.loom.flows import meter
from loomidi.origami.online import FlowDetectors, Rule, load_rules
from loomidi.origami.online.rules import rules_folder

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "detections.md"
FLOODS = {
    "amp.UDP.isakmp.pcap": "amplification",
    "amp.UDP.snmp.src161.pcapng": "amplification",
    "amp.dns.RRSIG.fragmented.pcap": "amplification",
    "pkt.TCP.synflood.spoofed.pcap": "syn_flood",
}
MOST_FALSE = 0.03
_ELSEWHERE = {"neighbour_spoofing": "told only, by frames of ARP and neighbour discovery"}
Found = dict[str, list[Finding]]

HEAD = """\
# Detections

Written by `tools/detections_page.py`; do not edit. Each detection is a folder under `rules/detections`: its thresholds
with their reasons, its ATT&CK ids, how its attack and its benign look-alikes are generated. The suite in
`tests/security/detections` replays them all: an attack that is not found, or a look-alike that is, fails the build.
"""
LIMITS = """\
## What to know about these figures

- The floods of the archive are captured one-way and hold little else; `tests/security/detections` replays attacks
  amid other traffic, too. The captures of nDPI are mostly short and made to test protocol recognition: they hold few
  attacks, so this table says more about false findings than about missed ones.
- A finding above `info` that nobody has judged (`rules/detections/verdicts.yaml`) counts as false.
- A capture of one direction hides who was asked. Detectors of one-way traffic ask for higher rates from few sources;
  still, a busy resolver whose queries are not captured looks like a small amplification until its rate is learned.
- Beaconing is told of hosts that call outside services; software that phones home steadily does the same.
- Neighbour spoofing is told of frames of ARP and neighbour discovery, which the fast lane hears and flow records do not
  hold: the tables above say nothing of it. The suite reads the captures' frames for it as well; none of nDPI's raises a
  finding, but only 11 of them hold such frames.
- Rates are compared with what a target is used to once 8 windows were seen; before that, with the rule's limit alone.
"""


def main() -> int:
    """Run the detectors over both archives and write the page."""
    rules = load_rules()
    verdicts = yaml.safe_load((rules_folder() / "verdicts.yaml").read_text(encoding="utf-8"))
    ddos = _found(_archive("ddos") / "ddos")
    ndpi = _found(_archive("ndpi") / "ndpi" / "pcap")
    false = sorted(
        name for name, found in ndpi.items() if any(not _judged(verdicts, name, f)[0] for f in _serious(found))
    )
    missed = [name for name, pattern in FLOODS.items() if pattern not in {f.pattern for f in ddos.get(name, [])}]
    parts = (HEAD, _patterns(rules), _floods(ddos), _benign(ndpi, verdicts, false), _notes(ndpi), LIMITS)
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"floods found: {len(FLOODS) - len(missed)} of {len(FLOODS)}; captures with a false finding above info: "
          f"{len(false)} of {len(ndpi)}; wrote {PAGE.relative_to(ROOT)}")  # fmt: skip
    return int(bool(missed) or len(false) > MOST_FALSE * len(ndpi))


def _archive(name: str) -> Path:
    """The unpacked archive; ends the run with one line when it is absent."""
    folder = Path.home() / ".cache" / "loomidi" / "data" / name
    source = Path(os.environ.get("LOOMIDI_DATA", ROOT.parent / "shared" / "data")) / f"{name}.tar.xz"
    if not folder.is_dir():
        if not source.is_file():
            print(f"no capture archive {name}.tar.xz; set LOOMIDI_DATA to its folder", file=sys.stderr)
            sys.exit(2)
        with tarfile.open(source) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)
    return folder


def _found(folder: Path) -> Found:
    """Findings by capture."""
    return {path.name: _findings(path) for path in sorted(folder.iterdir()) if "cap" in path.suffix}


def _findings(path: Path) -> list[Finding]:
    detectors = FlowDetectors()
    with meter([path]) as stream:
        found = [finding for batch in stream for finding in detectors.observe(batch)]
    return found + detectors.finish()


def _serious(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.INFO]


def _judged(verdicts: Mapping[str, Any], capture: str, finding: Finding) -> tuple[bool, str]:
    known = verdicts.get(capture, {}).get(finding.pattern, {})
    return bool(known.get("verdict")), str(known.get("why", "Nobody has looked at it yet."))


def _patterns(rules: Mapping[str, Rule]) -> str:
    rows = ["| pattern | ATT&CK | severity | told when | fast lane |", "|---|---|---|---|---|"]
    for rule in rules.values():
        limits = ", ".join(f"{name} {value:g}" for name, value in rule.thresholds.items())
        fast = ", ".join(f"{name} {value:g}" for name, value in rule.suspect.items()) or _ELSEWHERE.get(
            rule.pattern, "left to the flows"
        )
        rows.append(f"| `{rule.pattern}` | {' '.join(rule.techniques)} | {rule.severity.value} | {limits} | {fast} |")
    sentences = [f"- **{rule.title}** (`{rule.pattern}`): {rule.sentence}" for rule in rules.values()]
    return "\n".join(["## Patterns", "", *sentences, "", *rows, ""])


def _floods(found: Found) -> str:
    rows = ["| capture | expected | found | confidence | evidence |", "|---|---|---|---|---|"]
    for name, pattern in FLOODS.items():
        for finding in _serious(found.get(name, [])):
            mark = "" if finding.pattern == pattern else " (not expected)"
            rows.append(
                f"| {name} | {pattern} | {finding.pattern}{mark} | {finding.confidence:.2f} | {_facts(finding)} |"
            )
        if not _serious(found.get(name, [])):
            rows.append(f"| {name} | {pattern} | missed | | |")
    return "\n".join(["## Real floods (archive `ddos`)", "", *rows, ""])


def _benign(found: Found, verdicts: Mapping[str, Any], false: list[str]) -> str:
    rows = ["| capture | finding | severity | verdict | why |", "|---|---|---|---|---|"]
    for name, finding in _each(found, serious=True):
        true, why = _judged(verdicts, name, finding)
        verdict = "true" if true else "**false**"
        rows.append(f"| {name} | {finding.pattern}: {_facts(finding)} | {finding.severity.value} | {verdict} | {why} |")
    raised = len({name for name, _ in _each(found, serious=True)})
    share = 100 * len(false) / max(len(found), 1)
    summary = (
        f"{raised} of {len(found)} captures raise a finding above `info`; {len(false)} of them a false one "
        f"({share:.1f} %; the limit is {100 * MOST_FALSE:g} %)."
    )
    return "\n".join(["## Findings above info (archive `ndpi`)", "", summary, "", *rows, ""])


def _notes(found: Found) -> str:
    rows = [f"- {name}: {finding.pattern}, {_facts(finding)}" for name, finding in _each(found, serious=False)]
    return "\n".join(["## Told as info (archive `ndpi`)", "", *(rows or ["None."]), ""])


def _each(found: Found, *, serious: bool) -> Iterator[tuple[str, Finding]]:
    for name, findings in found.items():
        for finding in findings:
            if (finding.severity is not Severity.INFO) == serious:
                yield name, finding


def _facts(finding: Finding) -> str:
    return ", ".join(_fact(evidence) for evidence in finding.evidence if evidence.name not in ("octets", "packets"))


def _fact(evidence: Evidence) -> str:
    limit = "" if evidence.threshold is None else f" (limit {evidence.threshold:g})" if _is_number(evidence) else ""
    return f"{evidence.name} {evidence.value}{limit}"


def _is_number(evidence: Evidence) -> bool:
    return isinstance(evidence.threshold, (int, float))


if __name__ == "__main__":
    sys.exit(main())
