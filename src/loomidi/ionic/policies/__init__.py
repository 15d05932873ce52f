"""Policies that others hand in: read, judged before they are accepted, kept, put into engines, read back.

For the composition roots alone (it writes to engines, and needs httpx, which is an extra): `services.policy_api`.
"""

from loomidi.ionic.policies.deploying import FAULTS, Asker, Deployer, Status
from loomidi.ionic.policies.engines import Engine, KyvernoEngine, OpaEngine
from loomidi.ionic.policies.judging import Judge, JudgeSettings
from loomidi.ionic.policies.opa import Opa
from loomidi.ionic.policies.reading import read_policy
from loomidi.ionic.policies.records import Policy, PolicyType, Standing, Version
from loomidi.ionic.policies.reports import Reports
from loomidi.ionic.policies.shelves import FILE_NAME, Shelf
from loomidi.ionic.policies.violations import Tally

__all__ = [
    "FAULTS",
    "FILE_NAME",
    "Asker",
    "Deployer",
    "Engine",
    "Judge",
    "JudgeSettings",
    "KyvernoEngine",
    "Opa",
    "OpaEngine",
    "Policy",
    "PolicyType",
    "Reports",
    "Shelf",
    "Standing",
    "Status",
    "Tally",
    "Version",
    "read_policy",
]
