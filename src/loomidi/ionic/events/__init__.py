"""Our records in the words of others: OCSF events and STIX sightings, as plain dicts.

Called by `services.events` and `loomidi events`. In: findings, plans with their verdicts and approvals, receipts,
outcomes. Out: a dict that JSON can carry, the same for the same record, ids included. Pure. What a record does not say
is left out. Sending is left to `loom.sinks`.
"""

from loomidi.ionic.events.findings import finding_event, plan_event
from loomidi.ionic.events.framing import OCSF_VERSION, About, encoded
from loomidi.ionic.events.remediations import outcome_event, receipt_event
from loomidi.ionic.events.stix import sighting

__all__ = [
    "OCSF_VERSION",
    "About",
    "encoded",
    "finding_event",
    "outcome_event",
    "plan_event",
    "receipt_event",
    "sighting",
]
