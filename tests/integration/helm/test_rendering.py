"""What the chart makes of values, by the real helm: everywhere safe, and clear about what it refuses."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from cryptography import x509

from loomidi.conductor.cli import loomidi
from loomidi.ionic.decide import ManifestGuard, load_library
from loomidi.kit import configuring
from loomidi.services.settings.run import RunSettings
from tests.integration.helm.charts import EVERYTHING, SHIPPED, Object, of_kind, pods, rendered, templated

OURS: Mapping[str, Mapping[str, Any]] = {"as it comes": {}, "everything": EVERYTHING}
EXCEPTIONS = {  # of the DaemonSet, the one that docs/deploy.md explains; nothing else may be refused anything
    "capabilities", "capabilities_added", "host_namespaces", "host_path", "host_ports", "non_root", "non_root_user",
    "volume_types",
}  # fmt: skip


@pytest.fixture(scope="module", params=OURS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendered(OURS[request.param])


def test_everything_but_the_agents_meets_the_restricted_guardrails(objects: list[Object]) -> None:
    library = load_library()
    guard = ManifestGuard(library.of_profile("restricted"), library=library)
    refused = {
        (one["kind"], verdict.rule) for one in objects for verdict in guard.judge(one) if verdict.allow is not True
    }
    assert {kind for kind, _ in refused} == {"DaemonSet"}
    assert {rule for _, rule in refused} == EXCEPTIONS


def test_every_pod_has_probes_requests_limits_and_a_read_only_root(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        for container in pod["spec"]["containers"]:
            assert name.startswith("Job/") or {"readinessProbe", "livenessProbe"} <= container.keys(), name
            assert container["resources"].keys() == {"requests", "limits"}, name
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"], name


def test_the_agent_is_not_privileged_and_cannot_ask_the_api(objects: list[Object]) -> None:
    (agent,) = of_kind(objects, "DaemonSet")
    spec = agent["spec"]["template"]["spec"]
    security = spec["containers"][0]["securityContext"]
    assert "privileged" not in security
    assert security["capabilities"]["add"] == ["BPF", "NET_ADMIN", "NET_RAW", "PERFMON"]
    assert spec["automountServiceAccountToken"] is False
    bound = {
        subject["name"] for one in of_kind(objects, "RoleBinding", "ClusterRoleBinding") for subject in one["subjects"]
    }
    assert spec["serviceAccountName"] not in bound


def test_every_pod_is_protected_from_folds_and_chosen_by_a_network_policy(objects: list[Object]) -> None:
    parts = {
        one["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        for one in of_kind(objects, "NetworkPolicy")
    }
    for name, pod in pods(objects).items():
        labels = pod["metadata"]["labels"]
        assert labels["loomidi.io/protected"] == "true", name
        assert pod["spec"].get("hostNetwork") or labels["app.kubernetes.io/component"] in parts, name


def test_no_secret_is_in_an_argument_or_a_config_map(objects: list[Object]) -> None:
    made = [value for one in of_kind(objects, "Secret") for value in one["data"].values()]
    text = yaml.safe_dump([one for one in objects if one["kind"] != "Secret"])
    assert [value for value in made if value in text] == []


def test_every_argument_is_one_that_the_command_takes(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        for container in pod["spec"]["containers"]:
            unknown = [] if "command" in container or container["name"] == "opa" else unknown_options(container["args"])
            if set(unknown) & {"policy", "--orders"}:
                pytest.skip(f"this checkout has no {unknown[0]}: the part that is off until it is there")
            assert unknown == [], name


def unknown_options(words: Sequence[str]) -> list[str]:
    """Verbs and options that the command named by the first words does not have."""
    command: click.Command = loomidi
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    return [option for word in words if (option := word.partition("=")[0]) not in known]


def test_the_configuration_files_are_read_by_loomidi(objects: list[Object]) -> None:
    files = [one["data"]["loomidi.toml"] for one in of_kind(objects, "ConfigMap") if "loomidi.toml" in one["data"]]
    read = [configuring.parse(RunSettings, text, "loomidi.toml") for text in files]
    assert len(read) == 2 + ("loomidi-transformer" in {one["metadata"]["name"] for one in objects})
    assert all(one.bus.url.startswith("nats://loomidi-nats.loomidi-system.svc:4222") for one in read)


def test_settings_of_the_pipeline_win_over_what_the_chart_sets() -> None:
    values = {"pipeline": {"config": {"lake": {"commit_age_s": 5}, "probes": {"port": 8079}}}, "clusterName": 'a "b"'}
    found = of_kind(rendered(values), "ConfigMap")
    text = next(one["data"]["loomidi.toml"] for one in found if one["metadata"]["name"] == "loomidi-pipeline")
    read = configuring.parse(RunSettings, text, "loomidi.toml")
    assert (read.lake.commit_age_s, read.probes.host, read.sources.cluster) == (5.0, "0.0.0.0", 'a "b"')


def test_both_ends_of_the_channel_get_certificates_of_one_authority() -> None:
    found = of_kind(rendered({"agent": {"channel": {"enabled": True}}}), "Secret")
    data = next(one["data"] for one in found if one["metadata"]["name"] == "loomidi-orders")
    octets = {name: base64.b64decode(text) for name, text in data.items()}
    authority = x509.load_pem_x509_certificate(octets["ca.crt"])
    for end in ("agent", "operator"):
        certificate = x509.load_pem_x509_certificate(octets[f"{end}.crt"])
        certificate.verify_directly_issued_by(authority)
        assert certificate.subject.rfc4514_string() == f"CN=loomidi-{end}"
    assert len(octets["orders.key"]) >= 32
    assert "ca.key" not in octets


@pytest.mark.parametrize("asked", [False, True])
def test_kubelets_are_asked_only_where_that_is_wanted(asked: bool) -> None:
    rules = [
        rule
        for one in of_kind(rendered({"pipeline": {"kubeletMetrics": asked}}), "ClusterRole")
        for rule in one["rules"]
    ]
    assert any("nodes/proxy" in rule["resources"] for rule in rules) == asked
    assert any("folds" in rule["resources"] and "create" in rule["verbs"] for rule in rules)


def test_rights_of_kinds_that_are_left_out_are_not_granted() -> None:
    def rules(*kinds: str) -> list[str]:
        found = of_kind(rendered({"operator": {"kinds": list(kinds)}}), "ClusterRole")
        return next(one["rules"] for one in found if one["metadata"]["name"].endswith("operator-act"))

    everything, few = rules("ISOLATE_POD", "CORDON", "TERMINATE"), rules("ISOLATE_POD")
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]} in everything
    assert {verb for rule in few if "pods" in rule["resources"] for verb in rule["verbs"]} == {"get", "list", "patch"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_values_that_we_ship_render_for_every_version(path: Path) -> None:
    for version in ("1.33.0", "1.37.0"):
        assert of_kind(rendered({}, path, version=version), "DaemonSet")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"operator": {"replica": 3}}, "additional properties 'replica' not allowed"),
        ({"mode": "active"}, "value must be one of 'shadow', 'suggest', 'guarded', 'autonomous'"),
        ({"nats": {"replicas": 2}}, "value must be one of 1, 3, 5"),
        ({"dashboard": {"enabled": True}}, "dashboard.enabled: the dashboard is not part of this release"),
        ({"transformer": {"enabled": True}}, "transformer.enabled needs transformer.tlsSecret"),
        ({"nats": {"enabled": False}}, "there is no bus: give bus.url, or set nats.enabled"),
        ({"pipeline": {"ingest": {"enabled": True}}}, "pipeline.ingest.enabled needs pipeline.ingest.tlsSecret"),
        ({"opa": {"enabled": True}}, "opa.enabled needs policy.enabled and opa.image"),
        ({"operator": {"approvalKeySecret": "k", "generateApprovalKey": True}}, "give one of operator.approvers"),
    ],
)
def test_what_cannot_be_is_refused_in_words(values: Mapping[str, Any], said: str) -> None:
    done = templated(values)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_cluster_that_is_too_old_is_refused() -> None:
    done = templated({}, version="1.32.0")
    assert (done.returncode, "requires kubeVersion" in done.stderr) == (1, True)
