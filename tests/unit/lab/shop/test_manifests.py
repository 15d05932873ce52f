"""The shop's objects: complete, restricted, and agreeing with each other."""

import datetime
import json
from typing import Any

import pytest
from cryptography import x509

from loomidi_lab.shop import certificates, manifests
from loomidi_lab.shop.app import deciding, settings
from loomidi_lab.shop.workloads import DEFAULTS, SCALED, WORKLOADS


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    authority = certificates.authority()
    secrets = manifests.Secrets("r", "p", "s", authority, certificates.issue(authority, "payment", "shop"))
    return manifests.everything(manifests.Wishes(otlp_endpoint="http://10.0.0.1:4318"), secrets)


def templates(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for obj in objects:
        spec = obj.get("spec", {})
        if obj["kind"] in ("Deployment", "StatefulSet"):
            found.append((obj["metadata"]["name"], spec["template"]))
        elif obj["kind"] == "CronJob":
            found.append((obj["metadata"]["name"], spec["jobTemplate"]["spec"]["template"]))
    return found


class TestPods:
    def test_all_workloads_are_there(self, objects: list[dict[str, Any]]) -> None:
        wanted = {w.name for w in WORKLOADS} | {"redis", "postgres", "report"}
        assert {name for name, _ in templates(objects)} == wanted

    def test_every_pod_is_restricted_and_bounded(self, objects: list[dict[str, Any]]) -> None:
        for name, template in templates(objects):
            pod, container = template["spec"], template["spec"]["containers"][0]
            assert pod["securityContext"]["runAsNonRoot"], name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}, name

    def test_only_the_scaler_has_a_token(self, objects: list[dict[str, Any]]) -> None:
        mounted = {name for name, t in templates(objects) if t["spec"].get("automountServiceAccountToken")}
        assert mounted == {"scaler"}

    def test_every_service_has_three_probes(self, objects: list[dict[str, Any]]) -> None:
        for name, template in templates(objects):
            if name != "report":
                found = {key for key in template["spec"]["containers"][0] if key.endswith("Probe")}
                assert found == {"startupProbe", "readinessProbe", "livenessProbe"}, name


class TestAgreement:
    def test_every_selector_finds_its_pods(self, objects: list[dict[str, Any]]) -> None:
        labels = [template["metadata"]["labels"] for _, template in templates(objects)]
        for obj in objects:
            if obj["kind"] == "Service":
                assert any(obj["spec"]["selector"].items() <= found.items() for found in labels)

    def test_the_settings_of_every_pod_can_be_read(self) -> None:
        for workload in WORKLOADS:
            given = settings.read(workload.name, {**DEFAULTS, **workload.environment})
            assert given.service == workload.name

    def test_the_scaler_may_scale_what_it_is_told_to(self, objects: list[dict[str, Any]]) -> None:
        role = next(obj for obj in objects if obj["kind"] == "Role")
        names = {target.deployment for target in deciding.targets(json.dumps(SCALED))}
        assert set(role["rules"][1]["resourceNames"]) == names
        assert role["rules"][1]["resources"] == ["deployments/scale"]

    def test_upstreams_have_services(self, objects: list[dict[str, Any]]) -> None:
        services = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "Service"}
        assert set(settings.UPSTREAMS) <= services

    def test_no_service_account_is_missing(self, objects: list[dict[str, Any]]) -> None:
        accounts = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "ServiceAccount"}
        assert {template["spec"]["serviceAccountName"] for _, template in templates(objects)} <= accounts


def test_client_addresses_need_a_frontend_on_each_node() -> None:
    authority = certificates.authority()
    secrets = manifests.Secrets("r", "p", "s", authority, authority)
    found = manifests.everything(manifests.Wishes(client_addresses=True), secrets)
    frontend = {obj["kind"]: obj for obj in found if obj.get("metadata", {}).get("name") == "frontend"}
    assert frontend["Service"]["spec"]["externalTrafficPolicy"] == "Local"
    constraint = frontend["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"


class TestCertificates:
    def test_payment_is_known_by_its_names(self) -> None:
        pair = certificates.issue(certificates.authority(), "payment", "shop")
        names = x509.load_pem_x509_certificate(pair.certificate.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        assert {"payment", "payment.shop.svc.cluster.local"} <= set(names.value.get_values_for_type(x509.DNSName))

    def test_one_that_has_ended_can_be_issued(self) -> None:
        end = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(hours=1)
        pair = certificates.issue(certificates.authority(), "payment", "shop", not_after=end)
        found = x509.load_pem_x509_certificate(pair.certificate.encode())
        assert found.not_valid_after_utc == end
        assert found.not_valid_before_utc < end
