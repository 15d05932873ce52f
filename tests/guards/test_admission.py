"""The admission policies let through what the driver's kinds need, each of them, and no more."""

import ast
import re
from pathlib import Path

import yaml

from loomidi.contracts import FoldKind
from loomidi.ionic.act.kube import KINDS, KubeSettings
from loomidi.services.folds.operating import OperatorSettings

FOLDER = Path(__file__).resolve().parents[2] / "deployments" / "admission"
DOCUMENTS = {
    (one["kind"], one["metadata"]["name"]): one
    for file in sorted(FOLDER.glob("*.yaml"))
    for one in yaml.safe_load_all(file.read_text())
}
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
OPERATIONS = {"create": "CREATE", "patch": "UPDATE", "delete": "DELETE"}


def needed(kind: FoldKind) -> set[str]:
    """By the table from which the role is generated."""
    return {
        f"{resource} {OPERATIONS[verb]}"
        for rule in KINDS[kind].rules
        for resource in rule.resources
        for verb in rule.verbs
        if verb in OPERATIONS and resource != "nodes"
    }


def test_each_kind_may_do_what_its_rights_are_for_and_nothing_else() -> None:
    variables = {one["name"]: one["expression"] for one in DOCUMENTS[POLICY, "loomidi-acts"]["spec"]["variables"]}
    table = ast.literal_eval(variables["may"])
    assert {kind: set(may) for kind, may in table.items()} == {
        kind.value: needed(kind) for kind in KINDS if kind is not FoldKind.CORDON
    }


def test_every_policy_is_bound_and_denies_and_fails_closed() -> None:
    names = {name for kind, name in DOCUMENTS if kind == POLICY}
    for name in names:
        binding = DOCUMENTS[BINDING, name]["spec"]
        assert (binding["policyName"], binding["validationActions"]) == (name, ["Deny", "Audit"])
        assert DOCUMENTS[POLICY, name]["spec"]["failurePolicy"] == "Fail"
    assert {name for kind, name in DOCUMENTS if kind == BINDING} == names


def test_the_floor_protects_what_the_driver_protects() -> None:
    text = (FOLDER / "protected.yaml").read_text()
    settings = KubeSettings()
    assert [one for one in (*settings.protected_namespaces, *settings.protected_labels) if f"'{one}'" not in text] == []


def test_only_the_binding_that_chooses_by_its_label_holds_others_up_without_a_parameter() -> None:
    """An API server looks for parameters before it asks whose request it is: Deny would hold everybody's writes."""
    denying = [
        name
        for (kind, name), one in DOCUMENTS.items()
        if kind == BINDING and one["spec"].get("paramRef", {}).get("parameterNotFoundAction") == "Deny"
    ]
    assert denying == ["loomidi-at-hand"]
    chosen = DOCUMENTS[POLICY, "loomidi-at-hand"]["spec"]["matchConstraints"]["objectSelector"]
    assert chosen == {"matchExpressions": [{"key": "loomidi.io/at-hand", "operator": "Exists"}]}


def test_the_policies_are_about_the_account_and_the_lease_that_the_operator_has() -> None:
    lease = OperatorSettings().lease
    text = "".join(file.read_text() for file in FOLDER.glob("*.yaml"))
    accounts = set(re.findall(r"serviceaccount:[\w:-]*", text))
    assert accounts == {f"serviceaccount:{lease.namespace}:", f"serviceaccount:{lease.namespace}:loomidi-operator"}
    assert f"request.name == '{lease.name}'" in text
