"""All attacks of the catalogue, their order, and the stages of a full run.

Read by the verb and by `carrying`. Data: each attack is one record in the list of its kind. A stage takes less than 20
minutes with both modes on two cores.
"""

from collections.abc import Sequence

from loomidi.contracts.errors import UsageError
from loomidi_lab.redteam.catalogue.floods import FLOODS
from loomidi_lab.redteam.catalogue.quiet import QUIET
from loomidi_lab.redteam.catalogue.scans import SCANS
from loomidi_lab.redteam.catalogue.spoofs import SPOOFS
from loomidi_lab.redteam.records import Attack

CATALOGUE: tuple[Attack, ...] = (*FLOODS, *SCANS, *QUIET, *SPOOFS)
STAGES: tuple[tuple[Attack, ...], ...] = (
    FLOODS,
    tuple(attack for attack in SCANS if attack.family != "slow"),
    tuple(attack for attack in (*SCANS, *QUIET) if attack.family == "slow"),
    (*(attack for attack in QUIET if attack.family != "slow"), *SPOOFS),
)


def chosen(names: Sequence[str], stage: int = 0, *, short: bool = False) -> list[Attack]:
    """The attacks that are asked for. Raises UsageError for a name or a stage that is not there."""
    known = {attack.name: attack for attack in CATALOGUE}
    if wrong := [name for name in names if name not in known]:
        raise UsageError(f"no attack {wrong[0]!r}; there are {', '.join(known)}")
    if not 0 <= stage <= len(STAGES):
        raise UsageError(f"stage {stage}: there are stages 1 to {len(STAGES)}")
    wanted = [known[name] for name in names] or list(STAGES[stage - 1] if stage else CATALOGUE)
    return [attack for attack in wanted if attack.short or not short]
