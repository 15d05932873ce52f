"""Write the policy library for the engines of others: Kyverno (two kinds of policy) and Gatekeeper.

Called by `make docs` as `python -m tools.engines`; a guard test says when a file is behind. In: METADATA and Rego of
rules/guardrails/kubernetes, and rules/guardrails/engines.yaml. Out: rules/guardrails/kyverno (from CEL and JMESPath
written by hand) and rules/guardrails/gatekeeper (from the Rego itself). Nothing there refuses until its reader says so:
Kyverno audits, Gatekeeper runs dry. Whether the engines agree is left to tests/integration/engines.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loomidi.ionic.decide import GuardrailRule, load_library

ROOT = Path(__file__).resolve().parent.parent
GUARDRAILS = ROOT / "rules" / "guardrails"
LIBRARY = GUARDRAILS / "kubernetes"
SOURCE = GUARDRAILS / "engines.yaml"
KYVERNO, GATEKEEPER = GUARDRAILS / "kyverno", GUARDRAILS / "gatekeeper"
HEAD = "# Written by tools/engines.py; edit {source}, then `make docs`.\n"
# Kinds that carry a pod template where Deployments do. Gatekeeper takes kinds that a cluster does not have.
ALIKE = {"argoproj.io": ["Rollout"], "apps.openshift.io": ["DeploymentConfig"], "serving.knative.dev": ["Service"]}
NAMED = ("containers", "main", "holders", "volumes", "sysctls", "subjects")  # lists whose items have names

Document = dict[str, Any]


def source() -> Document:
    """engines.yaml as it is written."""
    read: Document = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    return read


def written() -> dict[Path, str]:
    """Every file: path -> text."""
    told, library = source(), load_library(LIBRARY)
    lib = _bare(library.shared["objects"]).replace("package loomidi.guardrails.objects", "package lib.objects")
    files = {GATEKEEPER / "suite.yaml": _text(suite(library.rules), "the rules in ../kubernetes")}
    for name, rule in library.rules.items():
        of_kyverno, of_rego = "../../engines.yaml", f"../../kubernetes/{name}.rego"
        files[KYVERNO / "cluster-policies" / f"{name}.yaml"] = _text(cluster_policy(rule, told), of_kyverno)
        files[KYVERNO / "validating-policies" / f"{name}.yaml"] = _text(validating_policy(rule, told), of_kyverno)
        files[GATEKEEPER / "templates" / f"{name}.yaml"] = _text(template(rule, lib), of_rego)
        files[GATEKEEPER / "constraints" / f"{name}.yaml"] = _text(constraint(rule, told), of_rego)
    return files


def policy_name(rule: str) -> str:
    """The name of a rule's policy in a cluster."""
    return f"loomidi-{rule.replace('_', '-')}"


def constraint_kind(rule: str) -> str:
    """The kind of a rule's constraint."""
    return "Loomidi" + "".join(word.capitalize() for word in rule.split("_"))


def cluster_policy(rule: GuardrailRule, told: Document) -> Document:
    """Kyverno's older kind, in JMESPath; in CEL where JMESPath cannot say it."""
    entry = told["rules"][rule.name]
    kinds = [told["kinds"][kind] | {"kind": kind} for kind in _kinds(entry, told)]
    operations = ["CREATE"] if entry.get("create") else ["CREATE", "UPDATE"]
    names = ["/".join(filter(None, (kind["group"], kind["version"], kind["kind"]))) for kind in kinds]
    judged = _by_jmespath(rule, entry, told) if "jmespath" in entry else _by_cel(rule, entry, told)
    match = {"any": [{"resources": {"kinds": names, "operations": operations}}]}
    head = _head(rule, "kyverno.io/v1", "ClusterPolicy")
    head["metadata"]["annotations"]["pod-policies.kyverno.io/autogen-controllers"] = "none"  # all are matched here
    spec = {"background": True, "rules": [{"name": policy_name(rule.name), "match": match} | judged]}
    return head | {"spec": spec}


def _by_jmespath(rule: GuardrailRule, entry: Document, told: Document) -> Document:
    lists = {"object": {"jmespath": "request.object"}} | told["lists"]
    each, asked = entry.get("each"), entry["jmespath"]
    last = {"offenders": f"{each}[?{asked}]", "refused": "length(offenders) > `0`"} if each else {}
    last = last or {"refused": f"!(!({asked}))"}
    words = " ".join([*last.values(), each or ""])
    used = _used(words, {name: each_list.get("jmespath", "") for name, each_list in lists.items()})
    variables = {name: lists[name]["jmespath"] for name in used} | last
    who = f" {_joined('{{ offenders[].name }}')}" if each in NAMED else ""
    return {
        "context": [{"name": name, "variable": {"jmesPath": path}} for name, path in variables.items()],
        "validate": {
            "failureAction": "Audit",
            "message": f"{rule.name}: {rule.title}.{who} {rule.remediation}",
            "deny": {"conditions": {"any": [{"key": "{{ refused }}", "operator": "Equals", "value": True}]}},
        },
    }


def _joined(text: str) -> str:
    return f"Refused by {text}."


def _by_cel(rule: GuardrailRule, entry: Document, told: Document) -> Document:
    variables, validation = _cel(rule, entry, told)
    return {
        "validate": {"failureAction": "Audit", "cel": {"variables": variables, "expressions": [validation]}},
    }


def validating_policy(rule: GuardrailRule, told: Document) -> Document:
    """Kyverno's newer kind, in CEL."""
    entry = told["rules"][rule.name]
    variables, validation = _cel(rule, entry, told)
    spec: Document = {
        "validationActions": ["Audit"],
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": list(_resources(entry, told))},
        "variables": variables,
        "validations": [validation],
    }
    return _head(rule, "policies.kyverno.io/v1", "ValidatingPolicy") | {"spec": spec}


def _resources(entry: Document, told: Document) -> Iterator[Document]:
    """One rule of match for each group of the API."""
    kinds = [told["kinds"][kind] for kind in _kinds(entry, told)]
    for group, version in dict.fromkeys((kind["group"], kind["version"]) for kind in kinds):
        here = [kind for kind in kinds if (kind["group"], kind["version"]) == (group, version)]
        yield {
            "apiGroups": [group],
            "apiVersions": [version],
            "operations": ["CREATE"] if entry.get("create") else ["CREATE", "UPDATE"],
            "resources": [name for kind in here for name in (kind["plural"], *kind.get("also", ()))],
        }


def _cel(rule: GuardrailRule, entry: Document, told: Document) -> tuple[list[Document], Document]:
    """Variables and the one validation."""
    lists = {name: each["cel"] for name, each in told["lists"].items()}
    each, holds = entry.get("each"), entry["cel"]
    expression = f"${each}.all(one, {holds})" if each else holds
    used = _used(expression, lists, mark="$")
    variables = [{"name": name, "expression": _marked(lists[name])} for name in used]
    said = f"{rule.name}: {rule.title}."
    if each not in NAMED:
        return variables, {"expression": _marked(expression), "message": f"{said} {rule.remediation}"}
    who = f"${each}.filter(one, !({holds})).map(one, string(one.?name.orValue('unnamed'))).join(', ')"
    telling = f"{_quoted(f'{said} Refused by ')} + {who} + {_quoted(f'. {rule.remediation}')}"
    return variables, {"expression": _marked(expression), "messageExpression": _marked(telling)}


def _marked(expression: str) -> str:
    return re.sub(r"\$([a-z_]+)", r"variables.\1", expression)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _used(expression: str, lists: Mapping[str, str], mark: str = "") -> list[str]:
    """The lists that an expression leans on, also by way of others, in the order in which they are told."""
    found: set[str] = set()
    todo = [expression]
    while todo:
        text = re.sub(r"'[^']*'|`[^`]*`|\"[^\"]*\"", "", todo.pop())  # no name within a literal
        names = {name for name in lists if re.search(rf"(?<![\w.]){re.escape(mark)}\b{name}\b", text)}
        todo += [lists[name] for name in names - found]
        found |= names
    return [name for name in lists if name in found]


def _kinds(entry: Document, told: Document) -> Sequence[str]:
    kinds: Sequence[str] = told["pods"] if entry["of"] == "pods" else entry["of"]
    return kinds


def template(rule: GuardrailRule, lib: str) -> Document:
    """A ConstraintTemplate around the rule's own Rego."""
    kind = constraint_kind(rule.name)
    rego = _bare(rule.text).replace("package loomidi.guardrails.kubernetes", f"package loomidi.{rule.name}")
    rego = f"{rego}\n{_violation(rule)}"
    code = {"engine": "Rego", "source": {"version": "v1", "rego": rego, "libs": [lib]}}
    spec = {
        "crd": {"spec": {"names": {"kind": kind}}},
        "targets": [{"target": "admission.k8s.gatekeeper.sh", "code": [code]}],
    }
    head = _head(rule, "templates.gatekeeper.sh/v1", "ConstraintTemplate")
    head["metadata"]["name"] = kind.lower()
    return head | {"spec": spec}


def _bare(text: str) -> str:
    """Rego without comments, with input and module where Gatekeeper has them; the template says that it is v1."""
    lines = [line for line in text.splitlines() if not line.startswith("#") and line != "import rego.v1"]
    bare = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines).strip()) + "\n"
    bare = bare.replace("import data.loomidi.guardrails.objects", "import data.lib.objects").replace("\t", "  ")
    return bare.replace("input.object", "input.review.object")


def _violation(rule: GuardrailRule) -> str:
    """A rule that does not hold, and one that does not answer, is a violation."""
    return f"""\
violation contains {{"msg": msg}} if {{
  not "{rule.name}" in holds
  said := object.get(reason, "{rule.name}", "no answer")
  msg := concat(" ", [{_quoted(f"{rule.name}: {rule.title}:")}, said, {_quoted(rule.remediation)}])
}}
"""


def constraint(rule: GuardrailRule, told: Document) -> Document:
    """The constraint that puts the template to use; it runs dry."""
    entry = told["rules"][rule.name]
    groups: dict[str, list[str]] = {}
    for kind in _kinds(entry, told):
        groups.setdefault(told["kinds"][kind]["group"], []).append(kind)
    groups |= ALIKE if entry["of"] == "pods" else {}
    kinds = [{"apiGroups": [group], "kinds": names} for group, names in groups.items()]
    spec: Document = {"enforcementAction": "dryrun", "match": {"kinds": kinds}}
    head = _head(rule, "constraints.gatekeeper.sh/v1beta1", constraint_kind(rule.name))
    return head | {"spec": spec}


def suite(rules: Iterable[str]) -> Document:
    """What `gator verify` runs: the samples of every rule."""
    tests = [
        {
            "name": rule,
            "template": f"templates/{rule}.yaml",
            "constraint": f"constraints/{rule}.yaml",
            "cases": [
                {
                    "name": folder,
                    "object": f"../kubernetes/samples/{folder}/{rule}.yaml",
                    "assertions": [{"violations": "yes" if folder == "refused" else "no"}],
                }
                for folder in ("allowed", "refused")
            ],
        }
        for rule in rules
    ]
    return {
        "apiVersion": "test.gatekeeper.sh/v1alpha1",
        "kind": "Suite",
        "metadata": {"name": "loomidi"},
        "tests": tests,
    }


def _head(rule: GuardrailRule, version: str, kind: str) -> Document:
    metadata = {
        "name": policy_name(rule.name),
        "labels": {"app.kubernetes.io/part-of": "loomidi", "loomidi.io/profile": rule.profile},
        "annotations": {
            "policies.kyverno.io/title": rule.title,
            "policies.kyverno.io/severity": rule.severity,
            "policies.kyverno.io/description": rule.description,
            "loomidi.io/standard": rule.standard,
        },
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _text(document: Document, of: str) -> str:
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return HEAD.format(source=of) + body


def behind() -> list[str]:
    """Files that are missing, old, or nobody's."""
    files = written()
    there = {path for folder in (KYVERNO, GATEKEEPER) for path in folder.rglob("*.yaml")}
    old = [path for path, text in files.items() if path not in there or path.read_text(encoding="utf-8") != text]
    return sorted(str(path.relative_to(ROOT)) for path in {*old, *(there - set(files))})


def main() -> None:
    """Bring all of them up to date."""
    files = written()
    for path in {path for folder in (KYVERNO, GATEKEEPER) for path in folder.rglob("*.yaml")} - set(files):
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
