"""Rego in a real OPA server: in force when it says so, told when it is not, taken back when it breaks."""

import re
import subprocess
from pathlib import Path

import httpx

from tests.integration.policy.running import OpaServer, Service, pod, rego, until

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policy-api.md"


def test_a_policy_that_is_active_is_what_opa_answers_by(service: Service, opa_server: OpaServer) -> None:
    answer = service.deploy("in-force", rego("force.a"), decision="decision-7").json()
    assert (answer["status"], answer["shadow"]["engines"][0].split()[0]) == ("Active", "OPA"), answer
    assert opa_server.ask("force/a/deny", pod("web:latest")) == ["a ends in :latest"]
    assert opa_server.ask("force/a/deny", pod("web:1")) == []
    assert service.get("/policy/status/in-force")["version"]["source_ai_decision_ids"] == ["decision-7"]


def test_what_opa_refuses_to_compile_is_told_with_its_line_and_leaves_nothing(
    service: Service, opa_server: OpaServer
) -> None:
    answer = service.deploy("unsafe", rego("unsafe.a") + "\nallow if {\n\tnot missing\n}\n")
    assert (answer.status_code, answer.json()["reason"]) == (422, "unusable")
    assert "line 12: rego_unsafe_var_error" in answer.json()["reasons"][0]
    assert not [name for name in opa_server.policies() if "unsafe" in name or "shadow" in name]


def test_what_would_refuse_the_cluster_itself_never_reaches_its_own_package(
    service: Service, opa_server: OpaServer
) -> None:
    answer = service.deploy("breaks", rego("breaks.a", ""))
    assert (answer.status_code, answer.json()["reason"]) == (422, "breaks-protected")
    assert any("kube-system/kube-apiserver" in reason for reason in answer.json()["reasons"])
    assert "loomidi/policy/breaks" not in opa_server.policies()


def test_a_package_that_another_module_has_is_a_conflict(service: Service, opa_server: OpaServer) -> None:
    httpx.put(f"{opa_server.url}/v1/policies/theirs", content=rego("theirs.a"), trust_env=False)
    answer = service.deploy("ours", rego("theirs.a", ":edge"))
    assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")
    assert "is that of theirs in OPA" in answer.json()["detail"]
    assert service.get("/policy/status/ours")["status"] == "Error"


def test_what_somebody_else_put_in_its_place_is_an_error_until_it_is_deployed_again(
    service: Service, opa_server: OpaServer
) -> None:
    service.deploy("drifts", rego("drifts.a"))
    httpx.put(f"{opa_server.url}/v1/policies/loomidi/policy/drifts", content="package drifts.b\n", trust_env=False)
    told = service.get("/policy/status/drifts")
    assert (told["status"], told["reasons"]) == ("Error", ["OPA holds another text as loomidi/policy/drifts"])
    assert service.deploy("drifts", rego("drifts.a")).json()["status"] == "Active"


def test_back_gives_opa_the_text_before_and_then_takes_it_out(service: Service, opa_server: OpaServer) -> None:
    for suffix in (":latest", ":edge"):
        service.deploy("goes-back", rego("back.a", suffix))
    with service.client() as client:
        assert client.post("/policy/goes-back/rollback", json={}).json()["version"] == 1
        assert opa_server.policies()["loomidi/policy/goes-back"] == rego("back.a")
        assert client.post("/policy/goes-back/rollback", json={}).json()["status"] == "Inactive"
    assert "loomidi/policy/goes-back" not in opa_server.policies()


def test_decisions_of_opa_become_violations(service: Service, opa_server: OpaServer) -> None:
    service.deploy("logged", rego("logged.a"))
    for _ in range(3):
        opa_server.ask("logged/a", pod("web:latest"))
    until(lambda: sum(each["count"] for each in violations(service)) == 3, "the decision log has come")
    (told,) = violations(service)
    assert (told["rule"], told["resource"], told["source"]) == ("deny", "Pod shop/web", "opa")


def violations(service: Service) -> list[dict[str, object]]:
    found: list[dict[str, object]] = service.get("/policy/status/logged")["violations"]
    return found


def test_the_command_line_deploys_shows_compares_and_takes_back(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "by-hand.rego"
    file.write_text(rego("hand.a"))
    done = service.command("deploy", file, "--decision", "decision-9")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "by-hand: version 1 deployed, Active"), done.stderr
    assert "decision-9" in service.command("status", "by-hand").stdout
    file.write_text(rego("hand.a", ":edge"))
    different = service.command("diff", "by-hand", file)
    assert (different.returncode, '+\tendswith(container.image, ":edge")' in different.stdout) == (1, True)
    assert service.command("test", file, "--json").returncode == 0
    assert service.command("rollback", "by-hand").returncode == 0
    file.write_text(rego("hand.a") + "\nallow if {\n")
    refused = service.command("deploy", file)
    assert (refused.returncode, refused.stderr.count("\n"), "Traceback" in refused.stderr) == (1, 1, False)


def test_every_example_of_the_page_is_accepted(service: Service, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = script.replace("http://127.0.0.1:8082/policy-api", service.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "problem" not in done.stdout
    assert done.stdout.count('"status": "Active"') == 3
    assert done.stdout.endswith('"status": "Inactive", "reasons": ["out of force"], "version": 0}')
