"""The real service over a real OPA server: both as processes, killed, ended, started again on their ports.

Also run as a module, `python -m tests.integration.policy.running FAULT PORT STATE OPA`: the service, which ends itself
by SIGKILL when the second change passes the named fault point, as a node that dies would end it.
"""

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.integration.bus.brokers import free_port
from tests.integration.ingest.running import until


@dataclasses.dataclass
class Process:
    """One on a port, with a log."""

    folder: Path
    port: int = dataclasses.field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def launch(self, command: list[str], ready: str) -> None:
        """Returns once the URL answers 200."""
        self.log = self.folder / f"{self.port}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[3])
        until(lambda: self._answers(ready), f"{command[0]} is ready ({self.log})")

    def _answers(self, url: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclasses.dataclass
class OpaServer(Process):
    """`opa run --server`, which posts its decisions to the service on `log_to`."""

    program: Path = Path()
    log_to: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "OpaServer":
        command = [str(self.program), "run", "--server", "--disable-telemetry", "--addr", f"127.0.0.1:{self.port}"]
        for setting in (
            f"services.loomidi.url=http://127.0.0.1:{self.log_to}/policy-api",
            "decision_logs.service=loomidi",
            "decision_logs.reporting.min_delay_seconds=1",
            "decision_logs.reporting.max_delay_seconds=1",
        ):
            command += ["--set", setting] if self.log_to else []
        self.launch(command, f"{self.url}/health")
        return self

    def policies(self) -> dict[str, str]:
        """Id -> text of all that it holds."""
        listed = httpx.get(f"{self.url}/v1/policies", trust_env=False).json().get("result", [])
        return {one["id"]: one["raw"] for one in listed}

    def ask(self, path: str, question: Any) -> Any:
        answer = httpx.post(f"{self.url}/v1/data/{path}", json={"input": question}, trust_env=False)
        return answer.json().get("result")


@dataclasses.dataclass
class Service(Process):
    """`loomidi serve policy`."""

    opa: str = ""
    options: tuple[str, ...] = ()
    probes: int = dataclasses.field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/policy-api"

    def start(self) -> "Service":
        state = str(self.folder / "state")
        command = [sys.executable, "-m", "loomidi", "serve", "policy", "--port", str(self.port), "--state", state]
        command += ["--probes", str(self.probes), *(("--opa", self.opa) if self.opa else ()), *self.options]
        self.launch(command, f"http://127.0.0.1:{self.probes}/readyz")
        return self

    def start_to_die(self, fault: str) -> None:
        """Until the second change passes the point."""
        state = str(self.folder / "state")
        module = "tests.integration.policy.running"
        command = [sys.executable, "-m", module, fault, str(self.port), state, self.opa]
        self.launch(command, f"{self.url}/policy")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60)

    def deploy(self, name: str, text: str, kind: str = "OPA_Rego", decision: str = "") -> httpx.Response:
        body = {"policy_name": name, "policy_type": kind, "policy_content": text, "source_ai_decision_id": decision}
        with self.client() as client:
            return client.post("/policy/deploy", json=body)

    def get(self, path: str) -> Any:
        with self.client() as client:
            return client.get(path).json()

    def command(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """`loomidi policy ...` against it."""
        command = [sys.executable, "-m", "loomidi", "policy", *map(str, arguments), "--url", self.url]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def rego(package: str, suffix: str = ":latest") -> str:
    """A policy that refuses images by their ending."""
    return f"""package {package}

import rego.v1

deny contains msg if {{
	some container in input.object.spec.containers
	endswith(container.image, "{suffix}")
	msg := sprintf("%s ends in {suffix}", [container.name])
}}
"""


def pod(image: str) -> dict[str, Any]:
    """The question of an admission webhook about a pod."""
    metadata = {"name": "web", "namespace": "shop"}
    return {"object": {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "a", "image": image}]}}}


def _killed_at(fault: str, passed: list[str], name: str) -> None:
    passed.append(name)
    if name == fault and passed.count(fault) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """As the module's docstring says."""
    import functools

    from loomidi.services.http.authority import Door
    from loomidi.services.policy_api import standing_alone
    from loomidi.services.policy_api.settings import PolicySettings

    fault, port, state, opa = sys.argv[1:]
    settings = PolicySettings(door=Door(port=int(port)), state=Path(state), opa=opa)
    end = functools.partial(_killed_at, fault, [])
    asyncio.run(standing_alone.run(settings, None, {}, lambda _part, _port: None, end))


if __name__ == "__main__":
    main()
