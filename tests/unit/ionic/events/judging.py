"""Records to render, and the two judges: the published OCSF schema, and STIX's own library."""

import functools
import json
from typing import Any

import jsonschema
import stix2
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from loomidi.contracts import (
    Approval,
    BlastRadius,
    Evidence,
    Finding,
    FoldKind,
    FoldSpec,
    Match,
    Mode,
    Outcome,
    Plan,
    Receipt,
    Severity,
    Step,
    Verdict,
)
from loomidi.insight.explain import technique
from loomidi.ionic.events import OCSF_VERSION, About, encoded

ABOUT = About("0.1.0", "node-1", lambda one: technique(one).removeprefix(one).strip())
T0 = 1_770_000_000_123_456_789
FLOOD = Finding(
    "finding-1", "syn_flood", ("T1498.001",), Severity.HIGH, 0.93, ("host/203.0.113.9", "service/10.0.0.2:80/tcp"),
    T0, T0 + 5 * 10**9, (Evidence("syn_rate", 9000.0, 500.0, "packets/s", "SYNs a second"),),
    "origami.online.flows", "203.0.113.9 floods 10.0.0.2:80",
)  # fmt: skip
DROP = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "host/203.0.113.9", "drop", Match("203.0.113.9", protocol=6))
PLAN = Plan("plan-1", FLOOD, DROP, BlastRadius(1, 2, 3, 4, 0.5), Mode.GUARDED, T0, T0 + 10**10)
APPROVED = Approval("plan-1", "ab" * 32, (Verdict("floor", "caps", True, "fine"),), "anna", T0 + 1, T0 + 2, "secret-1")
APPLIED = Receipt("r-1", "plan-1", Step.APPLIED, T0, "shield:lo", {"match": DROP.match.as_dict()}, {}, "root")
WORKED = Outcome("plan-1", "worked", T0)

_text = st.text(max_size=30)
_ns = st.integers(0, 2**63 - 1)
_entity = st.one_of(
    _text.map(lambda one: f"pod/{one}"),
    st.ip_addresses().map(lambda one: f"host/{one}"),
    st.ip_addresses(v=4).map(lambda one: f"network/{one}/24"),
    _text,
)
_evidence = st.builds(
    Evidence, _text, st.one_of(st.floats(), st.integers(), _text), st.none() | st.floats(), _text, _text
)
TECHNIQUES = ("T1046", "T1498.001", "T1110")
FINDINGS = st.builds(
    Finding, st.text(min_size=1, max_size=30), _text, st.lists(st.sampled_from(TECHNIQUES), max_size=3).map(tuple),
    st.sampled_from(Severity), st.floats(0, 1), st.lists(_entity, max_size=3).map(tuple), _ns, _ns,
    st.lists(_evidence, max_size=3).map(tuple), _text, _text,
)  # fmt: skip
_match = st.builds(Match, _text, _text, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255))
_folds = st.builds(FoldSpec, st.sampled_from(FoldKind), _entity, _text, _match, undo=_text)
PLANS = st.builds(
    Plan, _text, FINDINGS, _folds, st.just(PLAN.blast_radius), st.sampled_from(Mode), _ns, _ns
)  # fmt: skip
VERDICTS = st.lists(st.builds(Verdict, _text, _text, st.none() | st.booleans(), _text), max_size=3)
RECEIPTS = st.builds(
    Receipt, _text, _text, st.sampled_from(Step), _ns, _text,
    st.one_of(st.just({}), _match.map(lambda one: {"match": one.as_dict()})),
    st.dictionaries(st.sampled_from(["why", "error", "hits"]), st.one_of(_text, st.integers())), _text,
)  # fmt: skip
OUTCOMES = st.builds(Outcome, _text, _text, _ns, st.lists(_evidence, max_size=2).map(tuple))


@functools.cache
def _validator(name: str) -> Any:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(OCSF_VERSION)).get_class_schema(name)
    return jsonschema.Draft202012Validator(schema)


def ocsf(event: dict[str, Any]) -> dict[str, Any]:
    """The event as a reader of its line sees it, held against the published schema of its class."""
    read: dict[str, Any] = json.loads(encoded(event))
    _validator(event["class_name"].lower().replace(" ", "_")).validate(read)
    return read


def stix(bundle: dict[str, Any]) -> Any:
    """The bundle as OASIS's library reads its line."""
    return stix2.parse(encoded(bundle).decode(), version="2.1")
