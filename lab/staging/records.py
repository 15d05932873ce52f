"""What a scenario is, as written, as drawn and as it turned out.

Made by `loading`, `drawing` and `running`; read by tests, the recorder and the commands. Plain frozen values; what is
"planned" depends on scenario and seed alone, what is "measured" only on what happened.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parent.parent / "scenarios" / "_shared"
"""Payloads that more than one scenario uses."""
Value = int | float | str | bool
"""A drawn parameter."""


@dataclasses.dataclass(frozen=True, slots=True)
class EntityRef:
    """Something in the cluster, or beyond it (`External`, named by address or CIDR)."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "EntityRef":
        """From a scenario's mapping."""
        return cls(str(data["kind"]), str(data.get("namespace", "")), str(data["name"]))

    def as_dict(self) -> dict[str, str]:
        """As it stands in truth documents."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """`Pod tenants/report-1`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario file that has been checked. Ranges are not drawn yet."""

    name: str
    category: str  # attack, failure, benign
    family: str
    technique: str  # ATT&CK id, attacks only
    kind: str  # failure or benign kind; empty for attacks
    title: str
    description: str
    folder: Path
    needs: Mapping[str, Any]
    document: Mapping[str, Any]  # as written

    def payload(self, name: str) -> Path:
        """A file of its folder, or the shared one of that name where `uses` lists it."""
        return (SHARED if name in self.document.get("uses", ()) else self.folder) / name


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """A scenario with its parameters drawn: the same for the same seed, on any machine."""

    scenario: Scenario
    seed: int
    parameters: Mapping[str, Value]
    duration_s: float  # planned length of the act
    sources: tuple[EntityRef, ...]
    victims: tuple[EntityRef, ...]
    fold: Mapping[str, Any]  # {"right": [...], "harmful": [...]}
    phases: Mapping[str, Sequence[Mapping[str, Any]]]  # setup, act, undo
    symptoms: Sequence[Mapping[str, Any]]

    def planned(self) -> dict[str, Any]:
        """The part of the truth that is known beforehand."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "category": scenario.category,
            "family": scenario.family,
            "technique": scenario.technique,
            "kind": scenario.kind,
            "seed": self.seed,
            "parameters": dict(self.parameters),
            "duration_s": self.duration_s,
            "sources": [entity.as_dict() for entity in self.sources],
            "victims": [entity.as_dict() for entity in self.victims],
            "fold": {name: list(folds) for name, folds in self.fold.items()},
        }


@dataclasses.dataclass(frozen=True, slots=True)
class SymptomResult:
    """One check of whether it really happened."""

    name: str
    confirmed: bool
    value: float | str  # the last measured
    wanted: str  # such as `>= 50 destination_ports`
    at_ns: int  # when it was confirmed, or last looked at
    unanswered: int = 0  # how often one of several that were asked gave no answer, over all looks

    def as_dict(self) -> dict[str, Any]:
        """As it stands in truth documents."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Occurrence:
    """A scenario that was run."""

    drawn: Drawn
    start_ns: int
    end_ns: int
    jitter_ns: int  # start beside what was planned
    sources: tuple[Mapping[str, Any], ...]  # {"entity": ..., "pods": [{"name", "address"}]}
    victims: tuple[Mapping[str, Any], ...]
    symptoms: tuple[SymptomResult, ...]
    void_because: str = ""
    flows: int = 0  # records seen on any link while it ran

    @property
    def valid(self) -> bool:
        """All symptoms confirmed and nothing failed."""
        return not self.void_because

    def as_dict(self) -> dict[str, Any]:
        """Truth: what was planned beside what was measured."""
        return {
            "planned": self.drawn.planned(),
            "measured": {
                "start_ns": self.start_ns,
                "end_ns": self.end_ns,
                "jitter_ns": self.jitter_ns,
                "sources": [dict(found) for found in self.sources],
                "victims": [dict(found) for found in self.victims],
                "symptoms": [symptom.as_dict() for symptom in self.symptoms],
                "flows": self.flows,
                "valid": self.valid,
                "void_because": self.void_because,
            },
        }
