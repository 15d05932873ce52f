"""Deciding what to do about a finding, and whether it may be done. Never acts: `act` is not imported from here."""

from loomidi.ionic.approvals import GUARDS, Signer, process_signer
from loomidi.ionic.decide.deciding import FINAL, Decider, DeciderSettings, person_asked, standard_guards
from loomidi.ionic.decide.guards import BASE_RULES, FloorGuard, GuardrailRule, ManifestGuard, RegoGuard, load_library
from loomidi.ionic.decide.limits import Limits
from loomidi.ionic.decide.proposing import propose
from loomidi.ionic.errors import PlanRefused

__all__ = [
    "BASE_RULES",
    "FINAL",
    "GUARDS",
    "Decider",
    "DeciderSettings",
    "FloorGuard",
    "GuardrailRule",
    "Limits",
    "ManifestGuard",
    "PlanRefused",
    "RegoGuard",
    "Signer",
    "load_library",
    "person_asked",
    "process_signer",
    "propose",
    "standard_guards",
]
