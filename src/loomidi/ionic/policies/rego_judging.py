"""Rego policies judged in shadow: compiled, and asked about every sample, before they are in force.

Called by `judging`. In: a policy and samples. Out: what it refuses. Where an OPA server is known, it is the judge: the
policy is put there under a package of its own that nothing asks, asked, and taken out again. The engine of this
package gives a second answer, in a process of its own; without a server it is the only one.
"""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.ionic.decide import load_library
from loomidi.ionic.errors import BadPolicy, NoPolicyEngine
from loomidi.ionic.policies.opa import SHADOWS, Opa
from loomidi.ionic.policies.reading import judges_objects, judges_plans, verdict_rules
from loomidi.ionic.policies.records import Policy
from loomidi.ionic.policies.samples import Sample

ASKING_S = 10  # of processor time, for all samples; the library's 75 rules take 2 s
MEMORY_OCTETS = 1 << 30  # that the engine may have in memory; a usual policy takes 60 MiB
_LOOK_S = 0.02
_SHADOW = "loomidi_shadow"
_TOLD = 200  # characters of a message
_MOST_TOLD = 20  # errors of the compiler


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A policy says no."""

    rule: str
    message: str


def refusals(document: Any, rules: Sequence[str]) -> list[Refusal]:
    """What an answer refuses, by the rules of the module that give verdicts. No answer at all is a refusal."""
    if not isinstance(document, Mapping):
        return [Refusal("any", "no answer")]
    found: list[Refusal] = []
    for rule in ("deny", "violation"):
        found += [Refusal(rule, message) for message in _messages(document.get(rule))]
    if "allow" in rules and document.get("allow") is not True:
        found.append(Refusal("allow", "allow is not true"))
    if "holds" in rules:
        holds, reason = document.get("holds"), document.get("reason")
        held = set(map(str, holds)) if isinstance(holds, list) else set()
        said = reason if isinstance(reason, Mapping) else {}
        found += [Refusal(str(rule), _short(why)) for rule, why in said.items() if rule not in held]
        if not held and not said:
            found.append(Refusal("holds", "no rule answered"))
    return found


def _messages(value: Any) -> list[str]:
    """Of `deny` or `violation`: a set of texts or objects, an object by message, one text, true."""
    if value is None or value is False or value == "":
        return []
    if isinstance(value, Mapping):
        return [_short(value["msg"])] if isinstance(value.get("msg"), str) else [_short(key) for key in value]
    if isinstance(value, list):
        return [_short(one.get("msg", one) if isinstance(one, Mapping) else one) for one in value]
    return [_short("denied" if value is True else value)]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return " ".join(text.split())[:_TOLD]


class RegoJudge:
    """Judges Rego."""

    def __init__(self, opa: Opa | None = None) -> None:
        self._opa = opa

    def asked(self, policy: Policy, samples: Sequence[Sample]) -> list[Sample]:
        """Those that the policy is about."""
        subjects = {
            "plan": judges_plans(policy.content),
            "object": judges_objects(policy.content),
        }
        return [sample for sample in samples if subjects[sample.subject]]

    def judge(self, policy: Policy, samples: Sequence[Sample]) -> tuple[dict[str, list[Refusal]], list[str], list[str]]:
        """Sample id -> refusals (of those that are refused); engines; notes. Raises BadPolicy, EngineAway."""
        asked = self.asked(policy, samples)
        notes: list[str] = []
        if self._opa is None:
            return self._refused(policy, asked, self._in_process(policy, asked)), ["in process (regopy)"], notes
        answers = self._by_server(policy, asked)
        refused = self._refused(policy, asked, answers)
        engines = [f"OPA {self._opa.version()}".strip()]
        try:
            second = self._refused(policy, asked, self._in_process(policy, asked))
        except (BadPolicy, NoPolicyEngine) as error:
            notes.append(f"the engine in process gives no second answer: {error}"[:500])
        else:
            engines.append("in process (regopy)")
            if differs := sorted(refused.keys() ^ second.keys()):
                notes.append(f"the engines differ on {len(differs)} samples, OPA counts; first {differs[0]}")
        return refused, engines, notes

    def _refused(self, policy: Policy, asked: Sequence[Sample], answers: Sequence[Any]) -> dict[str, list[Refusal]]:
        rules = verdict_rules(policy.content)
        found = {sample.id: refusals(answer, rules) for sample, answer in zip(asked, answers, strict=True)}
        return {identity: against for identity, against in found.items() if against}

    def _in_process(self, policy: Policy, asked: Sequence[Sample]) -> Sequence[Any]:
        document = {
            "modules": dict(load_library().shared) | {"policy": policy.content},
            "entry": policy.package.replace(".", "/"),
            "inputs": [sample.question() for sample in asked],
            "seconds": ASKING_S,
        }
        try:
            answered = json.loads(_asked_apart(json.dumps(document).encode()))
        except subprocess.TimeoutExpired:
            raise BadPolicy([f"the policy takes more than {3 * ASKING_S} s for our samples: make it simpler"]) from None
        except ValueError:
            why = f"more than {ASKING_S} s or {MEMORY_OCTETS >> 20} MiB"
            raise BadPolicy([f"the engine ended without an answer: the policy takes {why} for our samples"]) from None
        if "error" in answered:
            raise BadPolicy(_placed(str(answered["error"]), policy.content))
        found: Sequence[Any] = answered["answers"]
        return found

    def _by_server(self, policy: Policy, asked: Sequence[Sample]) -> Sequence[Any]:
        """Put it under a package that nobody asks, ask, take it out; whatever is left behind is swept at the start."""
        assert self._opa is not None
        package, identity = f"{_SHADOW}.d{policy.digest}", f"{SHADOWS}{policy.digest}"
        modules = {f"{identity}/policy": _moved(policy.content, policy.package, package)}
        try:
            for name, text in modules.items():
                self._opa.put(name, text)
            return [self._opa.ask(package, sample.question()) for sample in asked]
        finally:
            for name in modules:
                self._opa.delete(name)


def _placed(error: str, content: str) -> list[str]:
    """What the engine says, with lines instead of offsets."""
    found = re.findall(r"\(error \d+:policy\|(\d+)\|\d+\s*\(errormsg \d+:([^()]*)", error)
    lines = [f"line {content.encode()[: int(at)].count(10) + 1}: {' '.join(said.split())}" for at, said in found]
    return sorted(set(lines))[:_MOST_TOLD] or [" ".join(error.split())[:500]]


def _asked_apart(document: bytes) -> bytes:
    """What `asking_rego` says; empty or broken when it was ended for its time or memory."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("asking_rego.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asking:
        threading.Thread(target=_watch, args=(asking,), name="rego-memory", daemon=True).start()
        try:
            return asking.communicate(document, timeout=3 * ASKING_S)[0]
        finally:
            asking.kill()


def _watch(asking: "subprocess.Popen[bytes]") -> None:
    """End it when it takes more memory than it may."""
    statm = Path(f"/proc/{asking.pid}/statm")
    while asking.poll() is None:
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MEMORY_OCTETS:
                asking.kill()
        time.sleep(_LOOK_S)


def _moved(content: str, package: str, to: str) -> str:
    """The module under another package; what it says of its own package by `data.` goes along."""
    own = re.escape(package)
    text = re.sub(rf"(?m)^([ \t]*package[ \t]+)(?:data\.)?{own}[ \t]*$", rf"\g<1>{to}", content, count=1)
    return re.sub(rf"\bdata\.{own}(?![\w])", f"data.{to}", text)


def sweep(opa: Opa) -> int:
    """Take out what shadows were left behind by one that was killed. Returns how many."""
    left = [identity for identity in opa.packages() if identity.startswith(SHADOWS)]
    for identity in left:
        opa.delete(identity)
    return len(left)
