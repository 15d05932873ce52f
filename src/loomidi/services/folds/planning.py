"""Finding -> folds, each planned with its blast radius and judged by every guard; nothing is ever applied from here.

Called by `analyzing` for captures and by `watching` for live links: what both propose must be the same. In: findings, a
graph, the protected set, a clock. Out: `ProposedFold`s, the finding with its story. No approval, no act.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable, Sequence

from loomidi.contracts.errors import UsageError
from loomidi.contracts.records import Finding
from loomidi.insight.report import ProposedFold, stories
from loomidi.ionic.decide import Decider, DeciderSettings, propose, standard_guards
from loomidi.ionic.decide.places import Where, place
from loomidi.ionic.decide.radius import Graph
from loomidi.kit.clock import Clock

_GUARD_S = 10.0  # nobody waits for a plan here; a policy engine that starts slowly on a busy machine is not a refusal


def check_protected(prefixes: Iterable[str]) -> None:
    """Raises UsageError for an entry that is neither an address nor a CIDR."""
    for prefix in prefixes:
        try:
            ipaddress.ip_network(prefix, strict=False)
        except ValueError as error:
            raise UsageError(f"{prefix!r} is no address or CIDR; write it like 192.0.2.0/24") from error


def decider_over(
    graph: Graph | None, protected: Sequence[str], clock: Clock, settings: DeciderSettings | None = None
) -> Decider:
    """Both guards, for plans of one mode."""
    settings = settings or DeciderSettings()
    guards = standard_guards(protected, settings, patience_s=_GUARD_S)
    return Decider(guards, protected, settings, graph=graph, clock=clock)


def planned(finding: Finding, decider: Decider, where: Where = place) -> list[ProposedFold]:
    """Candidate folds, each with its plan and what every guard says. `where`: as in `propose`."""
    proposed = []
    for fold in propose(finding, where):
        plan = decider.plan(finding, fold, where)
        verdicts = decider.judge(plan)
        allowed = bool(verdicts) and all(verdict.allow is True for verdict in verdicts)
        proposed.append(ProposedFold(fold, plan, verdicts, allowed))
    return proposed


def explained(finding: Finding, folds: Sequence[ProposedFold]) -> Finding:
    """The finding with its story: evidence, rule, technique, what would be done, what the guards said, the undo."""
    mine = [proposed for proposed in folds if proposed.fold.because == finding.id]
    return dataclasses.replace(finding, explanation=stories.as_text(stories.story(finding, mine)))
