"""Settings of what is found and of what is proposed against it, as groups of the one configuration file.

Read by `answering`, which makes parts of the pipeline of them, and by `folding`.
"""

import dataclasses

from loomidi.contracts import Mode
from loomidi.services.settings.hows import How

PROMPT_S = 60.0  # from plan to act where nobody is asked


@dataclasses.dataclass(frozen=True, slots=True)
class DetectSettings:
    """The live detectors of the slow lane."""

    on: bool = False
    # Look for attacks in the flows of the bus.
    judge_s: float = 1.0
    # Between two looks.
    again_s: float = 5.0
    # Between two words on a finding that goes on growing.


@dataclasses.dataclass(frozen=True, slots=True)
class FoldingSettings:
    """What is proposed, where, and how far it may go."""

    kubeconfig: str = ""
    # Cluster in which Folds are proposed: a file; `auto` takes KUBECONFIG, the pod's own account or ~/.kube/config.
    # Empty: findings lead to no Fold.
    mode: Mode = Mode.SHADOW
    # Of the Folds. Their FoldPolicy and the operator may hold them to less.
    namespace: str = "default"
    # Of Folds whose target is in no namespace, such as an address outside.
    protected: tuple[str, ...] = ()
    # Addresses or CIDRs that no Fold may touch.
    fresh_s: float = 60.0
    # Since a finding was seen last: what is older, read from the bus after a pause, is history.
    people_s: float = 1200.0
    # For people to answer in modes suggest and guarded: twice the approvals.timeoutSeconds of your policies. In other
    # modes a plan begins within a minute or not at all.
    rest_s: float = 60.0
    # Between two Folds on one target, whatever became of the first.
    ranking: How = How.RULES
    # Who chooses among the folds that fit: rules, gentlest first, or bandit, which learns from what came of them.
    replay_s: float = 3600.0
    # Of flows in the lake that a Fold is held against before it is proposed: what it would have cut. 0: none.
    failures: bool = True
    # Look at pods, releases and nodes too: releases that do not come up, nodes under pressure.
    metrics_s: float = 5.0
    # Between two questions to each node's kubelet for throttled CPU (nodes/proxy); 0: services at their CPU limit are
    # not found.

    @property
    def valid_s(self) -> float:
        """Of a plan, until it has begun: a person needs longer to answer than a guard."""
        return self.people_s if self.mode in (Mode.SUGGEST, Mode.GUARDED) else PROMPT_S
