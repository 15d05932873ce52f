"""The status of a Fold, and conditions as all Kubernetes resources have them.

Called by `folds` and `policies`. In: the phases. Out: schemas; the rules hold the life of a Fold to `phases.WRITTEN`.
"""

from loomidi.contracts import Step
from loomidi.fold.resources import judging, schemas
from loomidi.fold.resources.phases import BEGUN, JUDGED, MEANING, TOUCHING, WRITTEN, Phase
from loomidi.fold.resources.schemas import Schema, joined, literal, rule


def conditions(kinds: str) -> Schema:
    """The list of conditions by type; `kinds` says which types there are."""
    fields = {
        "type": schemas.text(f"What it is about: {kinds}.", most=316, minLength=1),
        "status": {
            "description": "Whether it is so.",
            "type": "string",
            "enum": ["True", "False", "Unknown"],
        },
        "reason": schemas.text(
            "Why, in one word for programs.", most=1024, minLength=1, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
        ),
        "message": schemas.text("Why, in a sentence for people.", most=32768),
        "lastTransitionTime": schemas.moment("When status changed last."),
        "observedGeneration": schemas.whole("The metadata.generation that it was found for."),
    }
    required = ("type", "status", "reason", "message", "lastTransitionTime")
    one = schemas.thing("One thing that is so, is not so, or is not known.", fields, required=required)
    return schemas.keyed("What is known of it at the moment, one entry a type.", one, "type", most=16)


def observed_generation() -> Schema:
    """The generation that a status speaks of."""
    return schemas.whole("The metadata.generation that this status speaks of.")


def status() -> Schema:
    """The whole status of a Fold."""
    fields = {
        "observedGeneration": observed_generation(),
        "phase": phase(),
        "since": schemas.moment("When it entered its phase."),
        "until": schemas.moment("When it is taken back by itself."),
        "message": schemas.text("What is happening, in a sentence.", most=schemas.LONG),
        "policy": schemas.text("The FoldPolicy by which it is judged."),
        "target": _target(),
        "lease": _lease(),
        "verdicts": judging.verdicts(),
        "approvals": judging.approvals(),
        "receipts": judging.receipts(),
        "probes": _probes(),
        "conditions": conditions("Guarded, Held, Approved, Applied, Verified, Escalation, Stalled, Back"),
    }
    about = "Where it is and what was done. Written by the operator only, by way of the status subresource."
    return schemas.checked(schemas.thing(about, fields), *_rules())


def _rules() -> list[dict[str, str]]:
    lease_kept = "!has(oldSelf.lease) || has(self.lease)"
    return [
        rule(lease_kept, "a lease is never taken away: give a larger token", at=".lease"),
        rule(
            f"!has(self.phase) || !(self.phase in {literal(JUDGED)})"
            " || (has(self.verdicts) && self.verdicts.size() > 0 && self.verdicts.all(v, has(v.allow) && v.allow))",
            f"no phase from {Phase.GUARDED} on without a yes of every guard: write status.verdicts, or end in Denied",
            at=".verdicts",
        ),
        rule(
            f"!has(self.phase) || !(self.phase in {literal(TOUCHING)})"
            " || (has(self.approvals) && self.approvals.size() > 0)",
            f"no phase from {Phase.APPROVED} on without an approval: write status.approvals, or end in Denied",
            at=".approvals",
        ),
        rule(
            f"!has(self.phase) || !(self.phase in {literal(BEGUN)})"
            f" || (has(self.receipts) && self.receipts.exists(r, r.step == '{Step.INTENT}'))",
            f"no phase from {Phase.APPLYING} on without a stored inverse: write its receipt ({Step.INTENT}) with it",
            at=".receipts",
        ),
    ]


def phase() -> Schema:
    """The phase with its legal changes."""
    told = " ".join(f"{name}: {meaning}." for name, meaning in MEANING.items())
    table = literal(WRITTEN)
    advice = {old: [f"give {after[0]}", *after[1:]] if after else ["make a new Fold"] for old, after in WRITTEN.items()}
    legal = rule(
        f"self == oldSelf || self in {table}[oldSelf]",
        "this phase does not follow the one before: give one that does",
        told=f"'phase ' + oldSelf + ' cannot become ' + self + ': ' + {joined(advice, ', ')}[oldSelf]",
    )
    return schemas.checked(schemas.choice(f"Where it is in its life. {told}", Phase), legal)


def _target() -> Schema:
    fields = {
        "apiVersion": schemas.text("API version of the object that is acted on."),
        "kind": schemas.text("Kind of the object."),
        "namespace": schemas.text("Namespace of the object."),
        "name": schemas.text("Name of the object."),
        "uid": schemas.text("UID of the object: another one of the same name is another target."),
        "resourceVersion": schemas.text("Its version when it was looked at last."),
        "workload": schemas.text(
            "The workload that it is of, as namespace/name; the target where it is of none.", most=320
        ),
        "node": schemas.text("The node that it is on."),
    }
    return schemas.thing("The object that was found for spec.target.", fields)


def _lease() -> Schema:
    grows = rule("self >= oldSelf", "a fencing token never becomes smaller: who writes this has lost the lease, let go")
    fields = {
        "holder": schemas.text("The operator replica that may act."),
        "token": schemas.checked(schemas.whole("Fencing token; who has a smaller one may not act."), grows),
        "renewTime": schemas.moment("When the lease was renewed last."),
    }
    return schemas.thing("Who may carry it out.", fields, required=("token",))


def _probes() -> Schema:
    fields = {
        "name": schemas.text("The probe's name in spec.verify.", minLength=1, most=63),
        "holds": schemas.flag("Whether it holds."),
        "since": schemas.moment("Since when."),
        "message": schemas.text("What was seen.", most=1024),
    }
    one = schemas.thing("One probe's answer.", fields, required=("name", "holds"))
    return schemas.keyed("What the probes say.", one, "name", most=16)
