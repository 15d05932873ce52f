"""The story of one finding with all that is proposed against it, the same words in every form of the report.

Called by `services.analyzing` (for the finding's `explanation`) and by the renderers. In: a finding, its proposed
folds. Out: parts of `insight.explain`.
"""

from collections.abc import Sequence

from loomidi.contracts.records import Finding
from loomidi.insight.explain import Part, tell
from loomidi.insight.report.records import ProposedFold


def story(finding: Finding, proposed: Sequence[ProposedFold]) -> tuple[Part, ...]:
    """Parts with heading and sentences; the blast radius is that of the first fold, the gentlest."""
    return tell(
        finding,
        [one.fold for one in proposed],
        plan=proposed[0].plan if proposed else None,
        judged=[(one.fold, one.verdicts) for one in proposed],
    )


def as_text(parts: Sequence[Part]) -> str:
    """One line for each part."""
    return "\n".join(f"{part.heading}: {part.text}" for part in parts)
