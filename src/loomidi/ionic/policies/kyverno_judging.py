"""Kyverno policies judged in shadow by the real `kyverno` command, before they are in force.

Called by `judging`. In: a policy, samples, the path of the command. Out: what it refuses and what it would only report.
Without the command nobody here can say what a Kyverno policy does, so it is refused, saying how to get one.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.ionic.errors import BadPolicy, NoPolicyEngine
from loomidi.ionic.policies.enforcing import enforces
from loomidi.ionic.policies.records import Policy
from loomidi.ionic.policies.rego_judging import Refusal
from loomidi.ionic.policies.samples import PROTECTED, Sample

APPLYING_S = 120.0  # for all samples; a usual policy takes 2 s
_WITNESS = "loomidi-witness"  # a policy that passes every sample: by its results it is known that all were looked at
_MARK = "loomidi-sample-"  # uids, by which results are told apart: samples of the library share names
_AGAINST = ("fail", "error", "warn")
_WORDS = 1000  # characters that are told of what it says
_HOW = "build one with `loomidi-lab build --with kyverno` or take a release of Kyverno's, and name it with --kyverno"


class KyvernoJudge:
    """Judges Kyverno policies."""

    def __init__(self, command: Path | None) -> None:
        """`command`: None looks for `kyverno` in PATH."""
        self._command = command

    def found(self) -> Path:
        """Raises NoPolicyEngine when it is not there."""
        if self._command is None:
            path = shutil.which("kyverno")
            if path is None:
                raise NoPolicyEngine(f"no `kyverno` command to judge a Kyverno policy with: {_HOW}")
            return Path(path)
        if not self._command.is_file():
            raise NoPolicyEngine(f"{self._command}: no such file to judge a Kyverno policy with: {_HOW}")
        return self._command

    def judge(
        self, policy: Policy, samples: Sequence[Sample]
    ) -> tuple[dict[str, list[Refusal]], dict[str, list[Refusal]], list[str]]:
        """Sample id -> what is refused; the same for what is only reported; the engine, then its warnings.

        Raises BadPolicy, NoPolicyEngine.
        """
        command = self.found()
        asked = [sample for sample in samples if sample.subject == "object"]
        asked.sort(key=lambda sample: sample.group != PROTECTED)  # the first of a name keeps it
        with tempfile.TemporaryDirectory(prefix="loomidi-kyverno-") as name:
            folder = Path(name)
            (folder / "policy.yaml").write_text(policy.content, encoding="utf-8")
            (folder / "witness.yaml").write_text(json.dumps(_witness()), encoding="utf-8")
            documents = [json.dumps(document) for document in _told_apart(asked)]
            (folder / "samples.yaml").write_text("\n---\n".join(documents), encoding="utf-8")
            results, warnings = _run(command, folder)
        _check_seen(results, len(asked))
        refused, reported = dict[str, list[Refusal]](), dict[str, list[Refusal]]()
        for result in results:
            rule = str(result.get("rule", ""))
            if result.get("policy") == _WITNESS or result.get("result") not in _AGAINST:
                continue
            into = refused if enforces(policy.manifest, rule) else reported
            for at in _marks(result, len(asked)):
                told = Refusal(rule, " ".join(str(result.get("message", "")).split())[:200])
                into.setdefault(asked[at].id, []).append(told)
        return refused, reported, [f"kyverno {_version(command)}".strip(), *warnings]


def _witness() -> dict[str, Any]:
    pattern = {"metadata": {"uid": f"{_MARK}*"}}
    rule = {"name": "seen", "match": {"any": [{"resources": {"kinds": ["*"]}}]}, "validate": {"pattern": pattern}}
    head = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": _WITNESS}}
    return head | {"spec": {"background": False, "rules": [rule]}}


def _check_seen(results: Sequence[Mapping[str, Any]], count: int) -> None:
    """What was not looked at is not allowed by silence. Raises NoPolicyEngine."""
    witnessed = [result for result in results if result.get("policy") == _WITNESS and result.get("result") == "pass"]
    seen = {at for result in witnessed for at in _marks(result, 0)}
    if len(seen) != count:
        raise NoPolicyEngine(
            f"kyverno has looked at {len(seen)} of {count} samples; take a release that reads them all"
        )


def _told_apart(asked: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """With our marks, and names of their own: the command ends in a panic where two objects have one name."""
    seen: set[tuple[str, ...]] = set()
    for at, sample in enumerate(asked):
        manifest = sample.document
        metadata = manifest.get("metadata")
        names = dict(metadata) if isinstance(metadata, dict) else {}
        key = tuple(str(part or "") for part in (manifest.get("kind"), names.get("namespace"), names.get("name")))
        if not names.get("name") or key in seen:
            names["name"] = f"{names.get('name') or 'sample'}-{at}"
        seen.add(key)
        yield {**manifest, "metadata": names | {"uid": f"{_MARK}{at}"}}


def _marks(result: Mapping[str, Any], count: int) -> Iterator[int]:
    """The samples that a result is about; one that names none is about all."""
    named = [str(one.get("uid", "")) for one in result.get("resources") or ()]
    numbers = [int(uid.removeprefix(_MARK)) for uid in named if uid.startswith(_MARK)]
    yield from numbers or range(count)


def _run(command: Path, folder: Path) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Results of `kyverno apply`, and its warnings about the policy. Raises BadPolicy where it says that it is none."""
    asked = [str(command), "apply", "policy.yaml", "witness.yaml", "--resource", "samples.yaml"]
    asked += ["--policy-report", "--output-format", "json", "--remove-color"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "KUBECONFIG": str(folder / "none")}
    try:
        done = subprocess.run(
            asked, cwd=folder, env=environment, capture_output=True, text=True, timeout=APPLYING_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadPolicy(
            [f"kyverno took longer than {APPLYING_S:.0f} s for our samples: make the policy simpler"]
        ) from None
    except OSError as error:
        raise NoPolicyEngine(f"{command}: {error.strerror}: {_HOW}") from error
    words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip(" -")]
    warnings = [line[:_WORDS] for line in words if line.startswith("Warning: policy.yaml")]
    results = list(_results(done.stdout))
    if "Invalid Policies" in done.stdout or "Policies Skipped" in done.stdout or not results:
        told = " ".join(line for line in words if not line.startswith(("Warning:", "{")))
        raise BadPolicy([f"kyverno does not take it: {told[:_WORDS]}"])
    return results, warnings


def _results(output: str) -> Iterator[Mapping[str, Any]]:
    """Of every report in the output, which has other lines between them."""
    decoder = json.JSONDecoder()
    at = output.find("{")
    while at >= 0:
        try:
            report, end = decoder.raw_decode(output, at)
        except ValueError:
            at = output.find("{", at + 1)
            continue
        if isinstance(report, dict):
            yield from (one for one in report.get("results") or () if isinstance(one, dict))
        at = output.find("{", end)


def _version(command: Path) -> str:
    done = subprocess.run([str(command), "version"], capture_output=True, text=True, timeout=APPLYING_S, check=False)
    found = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if line.startswith("Version")]
    return found[0] if found else ""
