"""What a finding says to a playbook, and a finding where nobody but a person or a playbook says so.

Called by `walking`, `commands` and `openc2`. In: a `Finding`, or a fold that somebody orders. Out: values of external
variables, or the finding that the plan of an ordered fold rests on.
"""

import ipaddress
from collections.abc import Mapping

from loomidi.contracts import Evidence, Finding, FoldSpec, Severity, content_id
from loomidi.ionic.decide.places import place


def bindings(finding: Finding) -> Mapping[str, str]:
    """Variable name -> value. A playbook that declares one of these as external gets it from the finding.

    `__address__` is the first entity's address, `__evidence_NAME__` what was measured as NAME.
    """
    first = finding.entities[0] if finding.entities else ""
    found = {
        "__finding_id__": finding.id,
        "__pattern__": finding.pattern,
        "__severity__": finding.severity.value,
        "__confidence__": f"{finding.confidence:g}",
        "__entity__": first,
        "__entity_kind__": place(first).kind,
        "__address__": place(first).address,
        "__entities__": ",".join(finding.entities),
    }
    if len(finding.entities) > 1:
        found["__other__"] = finding.entities[1]
    for evidence in finding.evidence:
        value = evidence.value
        told = str(value).lower() if isinstance(value, bool) else str(value)
        found[f"__evidence_{evidence.name}__"] = told
    return found


def ordered(fold: FoldSpec, by: str, now_ns: int) -> Finding:
    """What the plan of an order rests on: nothing was measured, somebody wants it. Guards judge it as any other."""
    content = {"by": by, "target": fold.target, "action": fold.action, "match": fold.match.as_dict(), "at_ns": now_ns}
    return Finding(
        id=content_id("finding", content),
        pattern="ordered",
        techniques=(),
        severity=Severity.HIGH,
        confidence=1.0,
        entities=(fold.target,),
        first_ns=now_ns,
        last_ns=now_ns,
        evidence=(
            Evidence("ordered_by", by, meaning="nothing was measured: somebody asked for it"),
        ),  # what it rests on
        source=by,
        explanation=f"{by} asked for it",
    )


def target_of(network: str) -> str:
    """`host/ADDRESS` or `network/CIDR`. Raises ValueError for neither."""
    found = ipaddress.ip_network(network, strict=False)
    if found.prefixlen == found.max_prefixlen:
        return f"host/{found.network_address}"
    return f"network/{found}"
