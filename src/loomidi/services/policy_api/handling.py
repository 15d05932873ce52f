"""The handlers of the policy API: a request in, its answer out.

Called by `serving` through the table of routes. Each handler: 1. media type and parameters; 2. the body within its
limits; 3. the work, in a thread: changes one after the other, reading beside them; 4. the answer, or the error of a
house as a problem. Leaves the work itself to `ionic.policies`.
"""

import asyncio
import contextlib
import dataclasses
import difflib
import functools
import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from loomidi.contracts import LoomidiError
from loomidi.ionic.policies import Asker, Version, read_policy
from loomidi.ionic.policies.decisions import violations
from loomidi.ionic.policies.deploying import told
from loomidi.ionic.policies.violations import moment, summary
from loomidi.services.http.limits import Budget, whole_body
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.http.routing import Call
from loomidi.services.policy_api import answering, asking
from loomidi.services.policy_api.desks import Desk
from loomidi.services.policy_api.settings import PolicySettings

T = TypeVar("T")
JSON = "application/json"


class Handlers:
    """One run of the service."""

    def __init__(self, desk: Desk, settings: PolicySettings, count: Callable[[str, str, int], None]) -> None:
        """`count`: what, which of it, how many more."""
        self._desk, self._settings, self._count = desk, settings, count
        self.budget = Budget(settings.limits.memory_octets)
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="policy-change")
        self._reads = ThreadPoolExecutor(2, thread_name_prefix="policy-read")
        self._looking = threading.Lock()
        self._looked_s = -math.inf  # monotonic; a look that failed counts too
        self.waiting = 0

    def close(self) -> None:
        """Let go of the threads; a change that is under way is ended first."""
        self._changes.shutdown(wait=True)
        self._reads.shutdown(wait=True)

    async def deploy(self, call: Call) -> Answer:
        """POST /policy/deploy."""
        async with self._body(call) as body:
            return await self._change(self._deploy, asking.policy(body), _author(call))

    async def test(self, call: Call) -> Answer:
        """POST /policy/test: judged in shadow; nothing is kept."""
        async with self._body(call) as body:
            return await self._change(self._test, asking.policy(body))

    async def rollback(self, call: Call) -> Answer:
        """POST /policy/{policy_name}/rollback."""
        async with self._body(call) as body:
            return await self._change(self._rollback, call.path["policy_name"], asking.back(body), _author(call))

    async def status(self, call: Call) -> Answer:
        """GET /policy/status/{policy_name}."""
        call.parameters(())
        return await self._read(self._status, call.path["policy_name"])

    async def policies(self, call: Call) -> Answer:
        """GET /policy."""
        call.parameters(())
        return await self._read(self._policies)

    async def versions(self, call: Call) -> Answer:
        """GET /policy/{policy_name}/versions."""
        call.parameters(())
        return await self._read(self._versions, call.path["policy_name"])

    async def version(self, call: Call) -> Answer:
        """GET /policy/{policy_name}/versions/{version}."""
        call.parameters(())
        return await self._read(self._version, call.path["policy_name"], call.path["version"])

    async def diff(self, call: Call) -> Answer:
        """GET /policy/{policy_name}/diff."""
        given = call.parameters(("from", "to"))
        return await self._read(self._diff, call.path["policy_name"], given)

    async def logs(self, call: Call) -> Answer:
        """POST /logs: the decision log of OPA."""
        async with self._body(call, self._settings.log_octets) as body:
            return await self._read(self._logged, body)

    async def settle(self) -> int:
        """Take back what was broken off. Returns how many changes; raises while an engine is away."""
        return await asyncio.get_running_loop().run_in_executor(self._changes, self._desk.deployer.settle)

    async def tend(self) -> None:
        """Give OPA again what it has forgotten. Raises while it is away."""
        given = await asyncio.get_running_loop().run_in_executor(self._changes, self._desk.deployer.tend)
        self._count("changes", "given again", len(given))

    @contextlib.asynccontextmanager
    async def _body(self, call: Call, octets: int = 0) -> AsyncIterator[bytes]:
        """The whole body, its memory set aside until the work is done. Raises Problem."""
        if call.media_type != JSON:
            raised = f"{call.media_type[:80]!r} is not taken" if call.media_type else "there is no Content-Type"
            raise Problem("media-type", f"{raised}: send {JSON}", headers={"Accept-Post": JSON})
        call.parameters(())
        limits = self._settings.limits
        if octets:
            limits = dataclasses.replace(limits, body_octets=octets)
        async with whole_body(call.receive, call.headers, limits, self.budget, call.took) as body:
            yield body

    async def _change(self, work: Callable[..., Answer], *given: Any) -> Answer:
        """One after the other."""
        if self.waiting >= self._settings.waiting:
            raise answering.problem(
                "busy", "too many changes wait for each other: send it again later", retry_after_s=5
            )
        self.waiting += 1
        try:
            return await self._in_thread(self._changes, work, *given)
        finally:
            self.waiting -= 1

    async def _read(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await self._in_thread(self._reads, work, *given)

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[..., Answer], *given: Any) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(work, *given))
        except LoomidiError as error:
            raise answering.of_error(error, self._settings.retry_after_s) from error

    def _deploy(self, asked: asking.Asked, author: str) -> Answer:
        policy = read_policy(asked.name, asked.type, asked.content)
        try:
            version, unchanged = self._desk.deployer.deploy(policy, Asker(author, asked.decision))
        except LoomidiError as error:
            self._count("changes", type(error).__name__, 1)
            raise
        self._count("changes", "unchanged" if unchanged else "deployed", 1)
        return answering.found(self._standing(asked.name) | _of(version, asked.decision) | {"unchanged": unchanged})

    def _test(self, asked: asking.Asked) -> Answer:
        policy = read_policy(asked.name, asked.type, asked.content)
        shadow = self._desk.judge.judge(policy)
        return answering.found({"policy_name": asked.name, "digest": policy.digest, "shadow": shadow.as_dict()})

    def _rollback(self, name: str, asked: asking.Back, author: str) -> Answer:
        if asked.version:
            self._numbered(name, str(asked.version))
        elif not self._desk.shelf.versions(name):
            raise answering.unknown(name)
        number = self._desk.deployer.rollback(name, asked.version, Asker(author, asked.decision))
        self._count("changes", "rolled back", 1)
        return answering.found(self._standing(name) | {"version": number})

    def _standing(self, name: str) -> dict[str, Any]:
        status = self._desk.deployer.status(name)
        assert status is not None
        return {"policy_name": name, "status": status.standing.value, "reasons": list(status.reasons)}

    def _status(self, name: str) -> Answer:
        status = self._desk.deployer.status(name)
        if status is None:
            raise answering.unknown(name)
        reports = self._looked()
        tallies = [self._desk.decisions] + ([reports.tally] if reports else [])
        document = {"policy_name": name} | told(status) | summary(tallies, name)
        if reports is not None:
            looked = moment(reports.looked_ns) if reports.looked_ns else None
            document["reports"] = {"looked_at": looked, "problem": reports.problem}
        return answering.found(document)

    def _looked(self) -> Any:
        """The cluster's reports, read again when they are old; what is known stays when they cannot be read."""
        reports = self._desk.reports
        if reports is None:
            return None
        with self._looking:
            if time.monotonic() - self._looked_s > self._settings.look_again_s:
                reports.look(set(self._desk.shelf.names()))
                self._looked_s = time.monotonic()
        return reports

    def _policies(self) -> Answer:
        shelf, found = self._desk.shelf, []
        for name in shelf.names():
            last = shelf.versions(name)[-1]
            found.append(
                {
                    "policy_name": name,
                    "policy_type": last.type.value,
                    "versions": last.number,
                    "version_in_force": shelf.in_force(name) or None,
                }
            )
        return answering.found({"policies": found})

    def _versions(self, name: str) -> Answer:
        versions = self._desk.shelf.versions(name)
        if not versions:
            raise answering.unknown(name)
        current = self._desk.shelf.in_force(name)
        changes = [step.as_dict() for step in self._desk.shelf.steps(name)]
        listed = [version.as_dict() | {"in_force": version.number == current} for version in versions]
        return answering.found({"policy_name": name, "versions": listed, "changes": changes})

    def _version(self, name: str, number: str) -> Answer:
        version = self._numbered(name, number)
        return answering.found(version.as_dict() | {"policy_name": name, "policy_content": version.content})

    def _numbered(self, name: str, number: str) -> Version:
        """Raises the problem 404."""
        if not self._desk.shelf.versions(name):
            raise answering.unknown(name)
        known = number.isascii() and number.isdigit() and len(number) < 10
        version = self._desk.shelf.version(name, int(number)) if known else None
        if version is None:
            raise Problem("not-found", f"{name} has no such version: GET /policy/{name}/versions lists them")
        return version

    def _diff(self, name: str, given: Mapping[str, str]) -> Answer:
        """Default: from the version in force to the newest one."""
        versions = self._desk.shelf.versions(name)
        if not versions:
            raise answering.unknown(name)
        current = self._desk.shelf.in_force(name)
        old = self._numbered(name, given["from"]) if "from" in given else self._desk.shelf.version(name, current)
        new = self._numbered(name, given["to"]) if "to" in given else versions[-1]
        lines = difflib.unified_diff(
            (old.content if old else "").splitlines(),
            new.content.splitlines(),
            f"{name} version {old.number if old else 0}",
            f"{name} version {new.number}",
            lineterm="",
        )
        text = "\n".join(lines)
        numbers = {"from": old.number if old else 0, "to": new.number}
        return answering.found({"policy_name": name, **numbers, "same": not text, "diff": text})

    def _logged(self, body: bytes) -> Answer:
        events, unused = asking.events(body), Counter[str]()
        found = violations(events, self._desk.deployer.packages(), unused, time.time_ns())
        counted = self._desk.decisions.add(found)
        self._count("decisions", "events", len(events))
        self._count("decisions", "violations", counted)
        for cause, count in unused.items():
            self._count("decisions", cause, count)
        return answering.found({"events": len(events), "violations": counted, "unused": dict(unused)})


def _author(call: Call) -> str:
    """The fingerprint of the token; whoever comes without one is of this machine or has shown a certificate."""
    token = call.header("authorization").partition(" ")[2].strip()
    return f"token {hashlib.sha256(token.encode()).hexdigest()[:12]}" if token else "local"


def _of(version: Version, decision: str) -> dict[str, Any]:
    told = version.as_dict() | {"source_ai_decision_id": decision}
    return {key: value for key, value in told.items() if key not in ("at_ns", "author")}
