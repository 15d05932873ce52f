"""The guards: independent rule sets that must all allow a plan.

Rego and the floor know nothing of each other and read different code paths, so that one mistake does not open both.
Kyverno and the admission policy join here later.
"""

from loomidi.ionic.decide.guards.floor import FloorGuard
from loomidi.ionic.decide.guards.library import GuardrailRule, ManifestGuard, load_library
from loomidi.ionic.decide.guards.rego import BASE_RULES, RegoGuard

__all__ = ["BASE_RULES", "FloorGuard", "GuardrailRule", "ManifestGuard", "RegoGuard", "load_library"]
