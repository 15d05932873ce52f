"""What is known of a policy: its text, how it was judged, its versions, where it stands.

Read by every file of this folder and by `services.policy_api`. Frozen; `as_dict` is what the API tells and the store
keeps. No I/O.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping
from typing import Any


class PolicyType(enum.StrEnum):
    """As the interface names them."""

    KYVERNO = "Kyverno"
    REGO = "OPA_Rego"


class Standing(enum.StrEnum):
    """As the interface names them."""

    ACTIVE = "Active"  # read back as in force, just now
    INACTIVE = "Inactive"  # never in force, or taken out
    ERROR = "Error"  # should be in force, and is not, or cannot be read back


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A text that has been read and is well-formed; no engine has judged it yet."""

    name: str
    type: PolicyType
    content: str
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of Kyverno
    package: str = ""  # of Rego, with dots

    @property
    def digest(self) -> str:
        """SHA-256 hex of type and text: the same policy has the same digest, whoever hands it in."""
        return hashlib.sha256(f"{self.type.value}\n{self.content}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Shadow:
    """What a policy says of our samples before it is in force."""

    engines: tuple[str, ...]  # who judged, with version
    asked: int  # samples that it was asked about
    allowed_refused: tuple[str, ...]  # samples that our library allows and it refuses
    refused_refused: int  # samples that our library refuses and it refuses too
    refused_asked: int  # samples that our library refuses
    warned: tuple[str, ...]  # protected objects that it would report, without refusing them
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One text under a name, as it was handed in."""

    name: str
    number: int  # from 1
    type: PolicyType
    digest: str
    content: str
    author: str  # who handed it in: `local`, or the fingerprint of a token
    at_ns: int
    shadow: Mapping[str, Any]
    decisions: tuple[str, ...] = ()  # ids of the decisions that asked for it, oldest first

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the text."""
        return {
            "version": self.number,
            "policy_type": self.type.value,
            "digest": self.digest,
            "author": self.author,
            "at_ns": self.at_ns,
            "source_ai_decision_ids": list(self.decisions),
            "shadow": dict(self.shadow),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One change of what is in force: written before it is made, closed after it was verified or taken back."""

    id: int
    name: str
    version: int  # 0: out of force
    before: int  # version in force before; 0: none
    inverse: Mapping[str, Any] | None  # what the engine held before; None: nothing
    state: str  # begun, active, undone
    author: str
    at_ns: int
    decision: str = ""
    engine: str = ""  # whose inverse it is; empty: no engine was told
    reasons: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the inverse."""
        told = {"version": self.version, "before": self.before, "state": self.state, "author": self.author}
        return told | {
            "at_ns": self.at_ns,
            "source_ai_decision_id": self.decision,
            "engine": self.engine,
            "reasons": list(self.reasons),
        }
