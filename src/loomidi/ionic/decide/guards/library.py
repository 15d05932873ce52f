"""The policy library for Kubernetes manifests: one Rego file a rule, under rules/guardrails/kubernetes.

Called by `loomidi policy check --manifest`. In: one Kubernetes object as a dict (`ionic.manifests` reads them). Out: a
verdict for every rule that was chosen. How a question is asked, and that silence is a denial, are left to `RegoGuard`;
what a rule is for is read from its METADATA, the block that `opa inspect` reads too.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, InputError, Verdict
from loomidi.ionic.decide.guards.rego import RegoGuard
from loomidi.origami.online.rules import rules_folder

PACKAGE = "loomidi/guardrails/kubernetes"
PROFILES = ("baseline", "restricted", "practices")  # each holds the ones before it
TIMEOUT_S = 10.0  # nobody waits behind it, and the first question compiles some eighty files
_BLOCK = re.compile(r"^# METADATA\n((?:#.*\n)+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class GuardrailRule:
    """One rule of the library. `profile`: the mildest set that it belongs to."""

    name: str
    title: str
    description: str  # what can happen without it
    profile: str
    standard: str  # the item of PSS, CIS, NSA or the CVE that it follows
    severity: str
    remediation: str
    text: str  # Rego


@dataclasses.dataclass(frozen=True, slots=True)
class Library:
    """The rules by name, and the modules that all of them lean on."""

    rules: Mapping[str, GuardrailRule]
    shared: Mapping[str, str]  # module name -> Rego

    def of_profile(self, profile: str) -> tuple[str, ...]:
        """The names of the rules in a profile and in the ones before it."""
        within = PROFILES[: PROFILES.index(profile) + 1]
        return tuple(name for name, rule in self.rules.items() if rule.profile in within)


def load_library(folder: Path | None = None) -> Library:
    """The library in a folder, default the one that is installed. Raises EnvironmentLacks or InputError."""
    base = rules_folder("guardrails/kubernetes") if folder is None else folder
    rules = {path.stem: _rule(path) for path in sorted(base.glob("*.rego"))}
    if not rules:
        raise EnvironmentLacks(f"{base}: no rules there; reinstall loomidi")
    return Library(rules, {path.stem: path.read_text(encoding="utf-8") for path in sorted(base.glob("lib/*.rego"))})


def _rule(path: Path) -> GuardrailRule:
    import yaml  # costs start-up time; the plans of the fast lane are judged without it

    text = path.read_text(encoding="utf-8")
    try:
        (block,) = _BLOCK.findall(text)
        told = yaml.safe_load(re.sub(r"^# ?", "", block, flags=re.MULTILINE))
        names = {name: str(told[name]) for name in ("title", "description")}
        return GuardrailRule(name=path.stem, text=text, **names, **{k: str(v) for k, v in told["custom"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot use its METADATA: {error}") from error


class ManifestGuard:
    """Asks the chosen rules about manifests."""

    def __init__(
        self, names: Iterable[str] | None = None, *, library: Library | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`names`: which rules must answer, default all. Raises InputError for one that the library lacks."""
        library = library or load_library()
        chosen = tuple(library.rules if names is None else names)
        if unknown := [name for name in chosen if name not in library.rules]:
            raise InputError(f"no such rule: {', '.join(unknown)}; see docs/guardrails-kubernetes.md")
        modules = dict(library.shared) | {name: library.rules[name].text for name in chosen}
        self._guard = RegoGuard(modules, package=PACKAGE, expected=chosen, timeout_s=timeout_s)

    def judge(self, manifest: Mapping[str, Any]) -> Sequence[Verdict]:
        """A verdict for each chosen rule; `allow` is None where it did not answer."""
        return self._guard.evaluate({"object": manifest})
