"""Findings as rows of the stream `findings`.

Called by `detecting` and `diagnosing`. In: a finding as it was told, with its folds. Out: a batch of `FINDINGS`.
"""

import json
from collections.abc import Sequence

import pyarrow as pa

from loomidi.contracts import Finding
from loomidi.contracts.schemas import FINDINGS
from loomidi.insight.report import ProposedFold


def finding_row(finding: Finding, state: str, folds: Sequence[ProposedFold], told_ns: int) -> pa.RecordBatch:
    """One row."""
    plain = finding.as_dict()
    row = {
        "told": told_ns,
        "finding_id": finding.id,
        "state": state,
        "first": finding.first_ns,
        "last": finding.last_ns,
        "evidence": json.dumps(plain["evidence"]),
        "folds": json.dumps([_fold(one) for one in folds]),
    }
    named = ("pattern", "techniques", "severity", "confidence", "entities", "source", "explanation")
    return pa.RecordBatch.from_pylist([row | {name: plain[name] for name in named}], schema=FINDINGS)


def _fold(proposed: ProposedFold) -> dict[str, object]:
    refused = [f"{one.guard}/{one.rule}: {one.reason}" for one in proposed.verdicts if one.allow is not True]
    fold = proposed.fold
    told = {"plan": proposed.plan.id, "kind": fold.kind.value, "action": fold.action, "target": fold.target}
    return told | {"ttl_s": fold.ttl_s, "allowed": proposed.allowed, "refused": refused}
