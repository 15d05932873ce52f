"""What a Fold and its policy rest on, from the records of `contracts`: finding, radius, match, approval.

Called by `specs` and `statuses`. In: nothing. Out: schemas with a description for each field of the record.
"""

from loomidi.contracts import (
    Approval,
    BlastRadius,
    Conversation,
    Evidence,
    Finding,
    Match,
    Receipt,
    Replay,
    Severity,
    Verdict,
)
from loomidi.fold.resources import schemas
from loomidi.fold.resources.records import LIST_SIZE, fields_of
from loomidi.fold.resources.schemas import Schema, literal, rule

ENTITY = "^[a-z][a-z0-9-]*/.+$"
ENTITIES = 256  # that a finding or a radius may name
CONVERSATIONS = 128  # that a radius may list
_V4_LEAST, _V6_LEAST = 8, 16  # shorter prefixes are everybody


def entity(description: str) -> Schema:
    """The id of a thing in the live graph, `<kind>/<name>`."""
    return schemas.text(description, pattern=ENTITY)


def entities(description: str) -> Schema:
    """Ids in an order that means something."""
    return schemas.listing(description, entity("An id such as pod/shop/cart-0."), most=ENTITIES)


def finding() -> Schema:
    """What was found, as the detector said it."""
    told = {
        "id": "The finding's id; the same as spec.because.",
        "pattern": "What was seen, such as syn_flood, horizontal_scan or exfiltration.",
        "techniques": "ATT&CK techniques, such as T1046.",
        "severity": "How bad it is if true.",
        "confidence": "How sure the detector is, from 0 to 1.",
        "first_ns": "When it was first seen.",
        "last_ns": "When it was last seen.",
        "source": "The detector that says so.",
    }
    given = {
        "entities": entities("Who takes part, the one to act on first."),
        "evidence": schemas.listing("Measured facts that it rests on.", _evidence(), most=LIST_SIZE),
        "explanation": schemas.text("The finding in plain sentences.", most=schemas.LONG),
    }
    acts = rule(
        f"self != {literal(Severity.INFO.value)}",
        "information never leads to a Fold: give a finding of severity low or higher",
    )
    fields = fields_of(Finding, told, but=given)
    fields["severity"] = schemas.checked(fields["severity"], acts)
    required = ("id", "pattern", "severity", "confidence")
    return schemas.thing("What was found. Written by whoever proposes the Fold.", fields, required=required)


def _evidence() -> Schema:
    told = {
        "name": "What was measured, such as syn_rate.",
        "value": "The value, as JSON has it.",
        "threshold": "The limit or learned baseline that it broke, as JSON has it.",
        "unit": "The value's unit.",
    }
    meaning = schemas.text("What it means, in one sentence.", most=schemas.LONG)
    fields = fields_of(Evidence, told, but={"meaning": meaning})
    return schemas.thing("One measured fact.", fields, required=("name", "value"))


def blast_radius() -> Schema:
    """What the fold would cut."""
    told = {
        "peers": "Distinct remote hosts whose traffic it touches.",
        "flows": "Flows that it touches.",
        "packets": "Packets of those flows, in the window that was looked at.",
        "octets": "Octets of those flows, in the window that was looked at.",
        "share_of_octets": "Their share of all octets in the window, from 0 to 1.",
        "unlisted": "Conversations that an isolation cuts beyond those that are listed.",
    }
    given = {
        "bystanders": entities("Who is touched although no finding names them."),
        "protected": entities("Who of the protected set would be touched; must be empty."),
        "conversations": schemas.listing(
            "What an isolation cuts, one by one, the busiest first.", _conversation(), most=CONVERSATIONS
        ),
        "replay": _replay(),
    }
    spared = rule("self.size() == 0", "the Fold would touch the protected set: aim it so that protected is empty")
    fields = fields_of(BlastRadius, told, but=given)
    fields["protected"] = schemas.checked(fields["protected"], spared)
    about = "What the Fold cuts, counted on the live graph before anything is done."
    return schemas.thing(about, fields, required=("peers", "shareOfOctets"))


def _replay() -> Schema:
    told = {
        "state": "measured, or unknown: the lake was asked and could not say.",
        "since_ns": "From when flows were looked at.",
        "until_ns": "Until when.",
        "rows": "Flow records that were looked at.",
        "peers": "Distinct other ends of what it would have cut.",
        "flows": "Flows that it would have cut.",
        "octets": "Octets of those flows.",
        "share_of_octets": "Their share of all octets in that time, from 0 to 1.",
        "unlisted_paths": "Ways of users' requests that it would have cut beyond those that are listed.",
    }
    path = schemas.text("From the user to the end that is cut.", most=1024)
    given = {
        "why": schemas.text("Why it is not known.", most=1024),
        "named": entities("Those other ends, the busiest first."),
        "paths": schemas.listing("Ways of users' requests that it would have cut.", path, most=LIST_SIZE),
        "protected": entities("Who of the protected set it would have met."),
    }
    about = "What the Fold would have cut of the flows that the lake has kept, had it been in force then."
    return schemas.thing(about, fields_of(Replay, told, but=given))


def _conversation() -> Schema:
    told = {
        "client": "Address or CIDR of who asks.",
        "server": "Address or CIDR of who is asked, as it was seen on the link: a Service's own, or its pod's.",
        "port": "Port of the server; 0 where there is none or it is not known.",
        "protocol": "IANA protocol number, 6 for TCP, 17 for UDP.",
    }
    required = ("client", "server", "port", "protocol")
    return schemas.thing("Who asks whom.", fields_of(Conversation, told), required=required)


def match() -> Schema:
    """Which packets a fold touches."""
    source = schemas.checked(
        schemas.text("Address or CIDR of the remote end.", most=43),
        rule(
            "self == '' || isIP(self) || isCIDR(self)",
            "source is neither an address nor a CIDR: give 10.0.0.1 or 10.0.0.0/24",
        ),
        rule(
            "!isCIDR(self) || cidr(self).prefixLength() >= "
            f"(cidr(self).ip().family() == 4 ? {_V4_LEAST} : {_V6_LEAST})",
            f"source is everybody: give a prefix of at least /{_V4_LEAST} (IPv6: /{_V6_LEAST})",
        ),
    )
    destination = schemas.checked(
        schemas.text("Address of the own end.", most=39),
        rule("self == '' || isIP(self)", "destination is no address: give one such as 10.0.0.1"),
    )
    given = {
        "source": source,
        "destination": destination,
        "source_port": schemas.whole("Port of the remote end; 0 is any.", most=65535),
        "destination_port": schemas.whole("Port of the own end; 0 is any.", most=65535),
        "protocol": schemas.whole("IANA protocol number, 6 for TCP, 17 for UDP; 0 is any.", most=255),
    }
    about = "Which packets are touched. What is left out is any; the fields that are given must all fit."
    return schemas.thing(about, fields_of(Match, {}, but=given))


def verdicts() -> Schema:
    """What each guard answered."""
    told = {
        "guard": "The guard that answered, such as floor or rego.",
        "rule": "Its rule.",
        "allow": "Its answer. Missing: it had none, and that denies.",
    }
    fields = fields_of(Verdict, told, but={"reason": schemas.text("What it looked at.", most=1024)})
    one = schemas.thing("One rule's answer.", fields, required=("guard", "rule"))
    return schemas.keyed("The guards' answers; all must allow.", one, "guard", "rule", most=128)


def approvals() -> Schema:
    """Who let it through."""
    told = {
        "plan_id": "The plan that it opens.",
        "plan_hash": "SHA-256 of the plan's canonical JSON, in hex: another plan is not approved by it.",
        "approver": "Who approved: a person, or the guards where the mode needs nobody.",
        "granted_ns": "When it was granted.",
        "expires_ns": "When it is void.",
    }
    signature = schemas.text("Signature over the plan's hash, in hex.", most=schemas.LONG)
    fields = fields_of(Approval, told, without=("verdicts",), but={"signature": signature})
    required = ("approver", "grantedTime", "planHash")
    one = schemas.thing("One approval.", fields, required=required)
    return schemas.keyed("Approvals, one an approver.", one, "approver", most=16)


def receipts() -> Schema:
    """What was done."""
    told = {
        "id": "The receipt's id in the store.",
        "step": "What it records; intent is written before the first effect.",
        "at_ns": "When.",
        "driver": "Who did it.",
    }
    given = {
        "inverse": schemas.opaque("How the driver undoes it, stored before the effect."),
        "detail": schemas.opaque("What the driver noted."),
    }
    fields = fields_of(Receipt, told, without=("plan_id", "previous"), but=given)
    kept = rule("self == oldSelf", "a receipt is never changed: write another one")
    one = schemas.checked(schemas.thing("One durable line.", fields, required=("id", "step", "atTime")), kept)
    return schemas.keyed("What was about to be done, was done, or was undone.", one, "id", most=32)
