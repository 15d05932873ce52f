"""The resource `Fold`: one remediation, from the proposal to its end.

Called by `tools/crds.py`. In: the contracts. Out: its CustomResourceDefinition. The rules here see spec and status
together: the spec is fixed from Approved on, a life begins untouched, and shadow touches nothing.
"""

from typing import Any

from loomidi.contracts import Mode
from loomidi.fold.resources import schemas
from loomidi.fold.resources.definitions import AGE, Names, column, definition, root
from loomidi.fold.resources.phases import FIRST, OPEN, TOUCHING, Phase
from loomidi.fold.resources.schemas import literal, rule
from loomidi.fold.resources.specs import spec
from loomidi.fold.resources.statuses import status

NAMES = Names("Fold", "folds", ("fd",), "Namespaced")
_ABOUT = "A remediation with its reason, its blast radius and its end: proposed, judged, approved, applied, taken back."
_SELECTABLE = (".spec.kind", ".spec.target", ".spec.mode", ".spec.because", ".spec.policy", ".status.phase")


def fold_definition() -> dict[str, Any]:
    """The CustomResourceDefinition of Fold."""
    schema = schemas.checked(root(_ABOUT, spec(), status()), *_rules())
    return definition(NAMES, schema, _columns(), _SELECTABLE)


def _rules() -> list[dict[str, str]]:
    phased = "has(self.status) && has(self.status.phase)"
    was_phased = phased.replace("self", "oldSelf")
    return [
        rule(
            f"!({was_phased}) || oldSelf.status.phase in {literal(OPEN)} || self.spec == oldSelf.spec",
            "the spec of a Fold is fixed once it is approved: deny or release this one and make a new Fold",
            at=".spec",
        ),
        rule(
            f"({was_phased}) || !({phased}) || self.status.phase in {literal(FIRST)}",
            f"a Fold begins untouched: set status.phase to {Phase.PROPOSED} first",
        ),
        rule(
            f"!({was_phased}) || ({phased})", "a phase is never taken away: give one that follows, or leave it as it is"
        ),
        rule(
            f"self.spec.mode != '{Mode.SHADOW}' || !({phased}) || !(self.status.phase in {literal(TOUCHING)})",
            "a Fold in mode shadow touches nothing: set spec.mode to suggest, guarded or autonomous first",
        ),
    ]


def _columns() -> list[dict[str, Any]]:
    return [
        column("Kind", ".spec.kind", "The remediation."),
        column("Target", ".spec.target", "What is acted on."),
        column("Mode", ".spec.mode", "How far it may go without a person."),
        column("Phase", ".status.phase", "Where it is in its life."),
        column("Because", ".spec.finding.pattern", "What was found."),
        column("Until", ".status.until", "When it is taken back by itself."),
        AGE,
        column("Action", ".spec.action", "How it is done.", wide=True),
        column("Finding", ".spec.because", "Id of the finding.", wide=True),
        column("Severity", ".spec.finding.severity", "How bad the finding is.", wide=True),
        column("Peers", ".spec.blastRadius.peers", "Remote hosts that it touches.", wide=True, kind="integer"),
        column("Policy", ".spec.policy", "The FoldPolicy that led to it.", wide=True),
        column("Message", ".status.message", "What is happening.", wide=True),
    ]
