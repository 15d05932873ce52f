"""Settings of the policy API.

Made by the verb, read by every file of this folder.
"""

import dataclasses
from pathlib import Path

from loomidi.kit.settings import Storage
from loomidi.services.http.authority import Door
from loomidi.services.http.limits import BodyLimits

PREFIX = "/policy-api"
MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class PolicySettings:
    """Where it listens, where policies are kept, and which engines are told of them."""

    door: Door = dataclasses.field(default_factory=lambda: Door(port=8082))
    # Address, certificate, tokens that may do everything.
    read_token_file: Path | None = None
    # Tokens that may only read: for dashboards.
    log_token_file: Path | None = None
    # Tokens that may only hand in decision logs: for OPA.
    state: Path = dataclasses.field(default_factory=lambda: Storage().state)
    # Folder of the store of policies.
    opa: str = ""
    # URL of the OPA server that Rego policies are judged and put in force by; empty: judged in process, never in force.
    opa_token_file: Path | None = None
    # Bearer token for OPA.
    kubeconfig: Path | None = None
    # Cluster with Kyverno; None: the pod's own, and none outside of a pod.
    kyverno: Path | None = None
    # The `kyverno` command, which judges Kyverno policies; None: the one in PATH.
    limits: BodyLimits = dataclasses.field(default_factory=lambda: BodyLimits(body_octets=MIB, memory_octets=64 * MIB))
    # Of bodies: a policy may have 256 KiB, and JSON doubles some of it.
    log_octets: int = 16 * MIB
    # Of a decision log, unpacked; OPA's chunks have 32 KiB packed.
    verify_s: float = 15.0
    # How long an engine may take to follow a policy; then it is taken back. Kyverno takes about a second.
    engine_s: float = 5.0
    # How long an engine may take to answer one request.
    look_again_s: float = 10.0
    # Between two looks at a cluster's reports for the violations of a status.
    settle_s: float = 2.0
    # Between two tries to take back what was broken off.
    tend_s: float = 5.0
    # Between two looks whether OPA, which forgets when it starts again, still has what is in force.
    waiting: int = 8
    # Changes that may wait for each other; beyond it 429.
    retry_after_s: int = 5
    # What 503 tells the client to wait.
