"""How an applied fold is judged: probes that must hold for a while, and what they may look at.

Called by `specs` (of one Fold) and `policies` (of all that a policy lets through). In: a description. Out: a schema.
Asking the probes is left to the operator.
"""

from loomidi.fold.resources import schemas
from loomidi.fold.resources.schemas import Schema, rule

STABLE_S, TIMEOUT_S = 30, 120
_MOST_S = 3600
_KINDS = ("findingGone", "targetReady", "http", "flows")


def verify(description: str) -> Schema:
    """Probes, how long they must hold, and when to give up."""
    fields = {
        "stableForSeconds": schemas.whole("Seconds for which all probes must hold.", most=_MOST_S, default=STABLE_S),
        "timeoutSeconds": schemas.whole(
            "Seconds after which the Fold is rolled back when they did not.", least=1, most=_MOST_S, default=TIMEOUT_S
        ),
        "probes": schemas.keyed("What must hold; none: that the finding is gone.", _probe(), "name", most=16),
    }
    in_time = rule(
        "self.stableForSeconds < self.timeoutSeconds",
        "nothing can hold for longer than it is watched: set timeoutSeconds above stableForSeconds",
        at=".timeoutSeconds",
    )
    return schemas.checked(schemas.thing(description, fields), in_time)


def _probe() -> Schema:
    fields = {
        "name": schemas.text("The probe's name, for conditions and messages.", minLength=1, most=63),
        "findingGone": schemas.thing("The finding does not come again.", {}),
        "targetReady": _target_ready(),
        "http": _http(),
        "flows": _flows(),
    }
    asked = " + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in _KINDS)
    one = rule(f"{asked} == 1", f"a probe asks one thing: give exactly one of {', '.join(_KINDS)}")
    return schemas.checked(schemas.thing("One thing that must hold.", fields, required=("name",)), one)


def _target_ready() -> Schema:
    least = schemas.share("Pods of the target that must be ready, as a number or a percentage.", default="100%")
    return schemas.thing("The target's pods are ready.", {"minReady": least})


def _http() -> Schema:
    url = schemas.checked(
        schemas.text("Address that is asked by GET.", most=2048),
        rule(
            "isURL(self) && url(self).getScheme() in ['http', 'https']", "url is no http or https address: correct it"
        ),
    )
    fields = {
        "url": url,
        "status": schemas.whole("The status that must come back.", least=100, most=599, default=200),
        "withinMilliseconds": schemas.whole("How long the answer may take.", least=1, most=60_000, default=1000),
    }
    return schemas.thing("A request is answered.", fields, required=("url",))


def _flows() -> Schema:
    fields = {
        "peer": schemas.text(
            "Entity id of the other end, such as host/192.0.2.7 or pod/shop/cart-0; * is everybody but the pod's node.",
            minLength=1,
        ),
        "expect": {
            "description": "cut: nothing passes between them, and once the Fold is taken back it is noted whether it"
            " passes again; pass: something does.",
            "type": "string",
            "enum": ["pass", "cut"],
        },
    }
    return schemas.thing(
        "Packets between the target and a peer, heard by the node's agent at the link of the one that is a pod.",
        fields,
        required=("peer", "expect"),
    )
