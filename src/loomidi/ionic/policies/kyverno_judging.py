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
from loomidi.ionic.policies.records import Policy
from loomidi.ionic.policies.rego_judging import Refusal
from loomidi.ionic.policies.samples import Sample

APPLYING_S = 120.0  # for all samples; a usual policy takes 2 s
_MARK = "loomidi-sample-"  # uids, by which results are told apart: samples of the library share names
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
    ) -> tuple[dict[str, list[Refusal]], dict[str, list[Refusal]], str]:
        """Sample id -> what is refused; the same for what is only reported; the engine. Raises BadPolicy."""
        command = self.found()
        asked = [sample for sample in samples if sample.subject == "object"]
        with tempfile.TemporaryDirectory(prefix="loomidi-kyverno-") as name:
            folder = Path(name)
            (folder / "policy.yaml").write_text(policy.content, encoding="utf-8")
            documents = [json.dumps(_marked(sample.document, at)) for at, sample in enumerate(asked)]
            (folder / "samples.yaml").write_text("\n---\n".join(documents), encoding="utf-8")
            results = list(_results(_run(command, folder)))
        refused, reported = dict[str, list[Refusal]](), dict[str, list[Refusal]]()
        for result in results:
            into = {"fail": refused, "error": refused, "warn": reported}.get(str(result.get("result")))
            if into is not None:
                for at in _marks(result, len(asked)):
                    told = Refusal(str(result.get("rule", "")), " ".join(str(result.get("message", "")).split())[:200])
                    into.setdefault(asked[at].id, []).append(told)
        return refused, reported, f"kyverno {_version(command)}".strip()


def _marked(manifest: Mapping[str, Any], at: int) -> dict[str, Any]:
    metadata = manifest.get("metadata")
    names = dict(metadata) if isinstance(metadata, dict) else {}
    return {**manifest, "metadata": names | {"uid": f"{_MARK}{at}"}}


def _marks(result: Mapping[str, Any], count: int) -> Iterator[int]:
    """The samples that a result is about; one that names none is about all."""
    named = [str(one.get("uid", "")) for one in result.get("resources") or ()]
    numbers = [int(uid.removeprefix(_MARK)) for uid in named if uid.startswith(_MARK)]
    yield from numbers or range(count)


def _run(command: Path, folder: Path) -> str:
    """Standard output of `kyverno apply`, which exits 1 where anything is refused."""
    asked = [str(command), "apply", str(folder / "policy.yaml"), "--resource", str(folder / "samples.yaml")]
    asked += ["--policy-report", "--output-format", "json", "--audit-warn", "--remove-color"]
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
    violations = "exit as there are policy" in done.stderr or done.returncode == 0
    if "Invalid Policies" in done.stdout or "Policies Skipped" in done.stdout or not _said(done.stdout, violations):
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip(" -")]
        raise BadPolicy([f"kyverno does not take it: {' '.join(words)[:1000]}"])
    return done.stdout


def _said(output: str, ended_well: bool) -> bool:
    """Whether it judged: there is a report, or it ended well with nothing to say."""
    return ended_well or '"results"' in output


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
