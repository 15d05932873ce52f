"""Violations that a cluster knows of: PolicyReports, openreports, and the status of Gatekeeper's constraints.

Called by `services.policy_api` before it tells a status, at most every few seconds. In: a `KubeApi`. Out: a fresh tally
each time, for reports are a state and not events. Read one by one, a page in memory; kinds that the cluster does not
know are left out.
"""

import time
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import Any

from loomidi.contracts import LoomidiError
from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.errors import ChangedMeanwhile
from loomidi.ionic.policies.engines import NOTE_NAME
from loomidi.ionic.policies.samples import named
from loomidi.ionic.policies.violations import Tally, Violation

REPORTS = (
    "/apis/wgpolicyk8s.io/v1alpha2/policyreports",
    "/apis/wgpolicyk8s.io/v1alpha2/clusterpolicyreports",
    "/apis/openreports.io/v1alpha1/reports",
    "/apis/openreports.io/v1alpha1/clusterreports",
)
CONSTRAINTS = "/apis/constraints.gatekeeper.sh/v1beta1"
MOST_OBJECTS = 50_000  # of one kind that are read in one look
_AGAINST = ("fail", "error", "warn")
Object = Mapping[str, Any]


class Reports:
    """The last look at a cluster."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self.tally = Tally()
        self.looked_ns = 0
        self.problem = ""  # why not all was read

    def look(self, names: Container[str]) -> None:
        """Read what concerns the policies of these names; what was read before stays where that does not go."""
        tally, now = Tally(), time.time_ns()
        self.problem = ""
        try:
            for path in REPORTS:
                for report in self._each(path):
                    tally.add(one for one in of_report(report, now) if one.policy in names)
            for path in self._constraints():
                for constraint in self._each(path):
                    tally.add(one for one in of_constraint(constraint, now) if one.policy in names)
        except LoomidiError as error:
            self.problem = str(error)
            self.tally = tally if not self.looked_ns else self.tally
        else:
            self.tally, self.looked_ns = tally, now

    def _each(self, path: str) -> Iterator[Object]:
        try:
            for number, found in enumerate(self._api.each(path)):
                if number >= MOST_OBJECTS:
                    self.problem = f"more than {MOST_OBJECTS:,} objects at {path}: the others were not read"
                    return
                yield found
        except ChangedMeanwhile:  # the cluster has no such kind
            return

    def _constraints(self) -> Iterator[str]:
        """A kind for each of Gatekeeper's templates."""
        listed = self._api.get(CONSTRAINTS) or {}
        for resource in listed.get("resources") or ():
            if "/" not in resource["name"]:
                yield f"{CONSTRAINTS}/{resource['name']}"


def of_report(report: Object, now_ns: int) -> Iterator[Violation]:
    """Each result that is not a pass, for each of its resources; the report's scope where it names none."""
    for result in report.get("results") or ():
        if not isinstance(result, Mapping) or result.get("result") not in _AGAINST:
            continue
        resources = result.get("resources") or result.get("subjects") or [report.get("scope") or {}]
        for resource in resources:
            yield Violation(
                policy=_policy(result),
                rule=str(result.get("rule", "")),
                resource=_resource(resource),
                message=str(result.get("message") or result.get("description") or ""),
                source=str(result.get("source") or report.get("source") or "policyreport"),
                at_ns=_seconds(result.get("timestamp")) or now_ns,
            )


def _policy(result: Object) -> str:
    """Its name; a namespaced policy is reported as namespace/name."""
    return str(result.get("policy", "")).rpartition("/")[2]


def _resource(reference: Any) -> str:
    return (
        named({"kind": reference.get("kind", "object"), "metadata": reference})
        if isinstance(reference, Mapping)
        else ""
    )


def _seconds(moment: Any) -> int:
    """Of `{seconds, nanos}`; 0 where it is something else."""
    if not isinstance(moment, Mapping):
        return 0
    seconds, nanos = moment.get("seconds", 0), moment.get("nanos", 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int) or not 0 <= seconds < 1 << 33:
        return 0
    return seconds * 1_000_000_000 + nanos


def of_constraint(constraint: Object, now_ns: int) -> Iterator[Violation]:
    """What the audit of a constraint found; those that its status leaves out as one entry."""
    metadata, status = constraint.get("metadata") or {}, constraint.get("status") or {}
    policy = str((metadata.get("annotations") or {}).get(NOTE_NAME) or metadata.get("name", ""))
    rule, at_ns = str(constraint.get("kind", "")), stamp(status.get("auditTimestamp")) or now_ns
    listed = [one for one in status.get("violations") or () if isinstance(one, Mapping)]
    for one in listed:
        yield Violation(policy, rule, _resource(one), str(one.get("message", "")), "gatekeeper", at_ns)
    total = status.get("totalViolations")
    if isinstance(total, int) and total > len(listed):
        left = f"and {total - len(listed)} more that the constraint's status does not list"
        yield Violation(policy, rule, "", left, "gatekeeper", at_ns, total - len(listed))


def stamp(text: Any) -> int:
    """RFC 3339 as ns; 0 where it is something else."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1e9)
    except ValueError:
        return 0
