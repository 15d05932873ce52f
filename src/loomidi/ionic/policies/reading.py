"""The text of a policy, as far as it can be judged without an engine.

Called by `services.policy_api` first of all. In: name, type and text as a stranger wrote them. Out: a `Policy`, or
BadPolicy with every reason. What a policy may be at all is decided here: guardrails, that is rules that refuse. Rules
that change or make objects would act with the rights of the engine, and are not taken.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.ionic.errors import BadManifest, BadPolicy
from loomidi.ionic.manifests import read_manifests
from loomidi.ionic.policies.records import Policy, PolicyType

CONTENT_OCTETS = 256 * 1024  # the largest policy of the corpus has 60 KiB; an object of Kubernetes may have 1.5 MiB
VERDICTS = ("deny", "violation", "allow", "holds")  # rules of Rego that give a verdict
RESERVED_NAMES = ("deploy", "status", "test")  # they are paths of the API
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUIET = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+(\S+)[ \t]*$", re.MULTILINE)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_OURS = ("loomidi", "system")  # the guards' own packages, and those that rule OPA itself
_REACHING = re.compile(r"\b(http\s*\.\s*send|net\s*\.\s*lookup_ip_addr|opa\s*\.\s*runtime)\b")
_CALLING = re.compile(r"\bhttp\s*\.\s*(Get|Post|Client)\s*\(")  # of Kyverno's CEL
_MOST_ALIASES = 0  # an alias of an alias of an alias is how a small text becomes a large one
_RULE_KINDS = ("validate", "verifyImages")
_OF_THE_API = ("uid", "resourceVersion", "generation", "ownerReferences", "finalizers", "managedFields", "generateName")

VERSIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("kyverno.io", "ClusterPolicy"): ("v1", "v2beta1"),
    ("kyverno.io", "Policy"): ("v1", "v2beta1"),
    ("policies.kyverno.io", "ValidatingPolicy"): ("v1", "v1beta1", "v1alpha1"),
}
"""Group and kind -> the versions that are taken."""


def read_policy(name: str, kind: PolicyType, content: str) -> Policy:
    """Raises BadPolicy with all reasons."""
    reasons = list(_of_name(name)) + list(_of_text(content))
    if reasons:
        raise BadPolicy(reasons)
    if kind is PolicyType.REGO:
        package, found = _rego(content)
        policy = Policy(name, kind, content, package=package)
    else:
        manifest, found = _kyverno(name, content)
        policy = Policy(name, kind, content, manifest=manifest)
    if found:
        raise BadPolicy(found)
    return policy


def _of_name(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield "policy_name must be a DNS-1123 label: 1 to 63 lower case letters, digits and -, such as no-host-path"
    elif name in RESERVED_NAMES:
        yield f"policy_name {name!r} is a path of this API: take another"


def _of_text(content: str) -> Iterator[str]:
    if not content.strip():
        yield "policy_content is empty: send the text of the policy"
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", content):
        yield "policy_content holds control characters: send plain text"
    try:
        octets = len(content.encode())
    except UnicodeEncodeError:
        yield "policy_content holds half of a surrogate pair: send Unicode text"
        return
    if octets > CONTENT_OCTETS:
        yield f"policy_content has {octets:,} octets, most are {CONTENT_OCTETS:,}: make two policies of it"


def bare(rego: str) -> str:
    """Rego without its comments, and its texts empty: what names and calls are looked for in."""
    return _QUIET.sub(lambda found: "" if found[0].startswith("#") else '""', rego)


def verdict_rules(rego: str) -> tuple[str, ...]:
    """Those of `VERDICTS` that the module defines."""
    heads = re.findall(r"^(?:default[ \t]+)?([a-z_]\w*)", bare(rego), re.MULTILINE)
    return tuple(name for name in VERDICTS if name in heads)


def judges_plans(rego: str) -> bool:
    """Whether it asks about plans of folds."""
    return re.search(r"\binput\s*\.\s*(plan|facts)\b", bare(rego)) is not None


def judges_objects(rego: str) -> bool:
    """Whether it asks about objects: all do that do not ask about plans alone."""
    return not judges_plans(rego) or re.search(r"\binput\s*\.\s*(object|request|review)\b", bare(rego)) is not None


def _rego(content: str) -> tuple[str, list[str]]:
    text, reasons = bare(content), []
    found = _PACKAGE.findall(text)
    package = found[0].removeprefix("data.") if found else ""
    if len(found) != 1:
        reasons.append(f"a Rego policy is one module with one `package` line, this has {len(found)}")
    elif not _PATH.fullmatch(package):
        reasons.append(f"package {package[:80]!r} is not a plain path: use names with dots, such as shop.admission")
    elif package.split(".")[0] in _OURS:
        why = "rules in it would change what our guards say" if package.startswith("loomidi") else "it rules OPA itself"
        reasons.append(f"package {package} is reserved ({why}): take another, such as shop.admission")
    calls = sorted({re.sub(r"\s", "", call) for call in _REACHING.findall(text)})
    reasons += [f"{call} reaches beyond the question: decide by input and data alone" for call in calls]
    if not verdict_rules(content):
        reasons.append(f"no rule in it gives a verdict: define {', '.join(VERDICTS[:-1])} or holds with reason")
    return package, reasons


def _kyverno(name: str, content: str) -> tuple[Mapping[str, Any], list[str]]:
    try:
        _check_aliases(content)
        objects = read_manifests(content)
    except BadManifest as error:
        return {}, [str(error)]
    if len(objects) != 1:
        return {}, [f"policy_content holds {len(objects)} objects: deploy one policy at a time"]
    manifest = objects[0]
    group, _, version = str(manifest.get("apiVersion")).rpartition("/")
    kind = str(manifest["kind"])
    versions = VERSIONS.get((group, kind))
    if versions is None:
        known = ", ".join(f"{kind} of {group}" for group, kind in VERSIONS)
        return manifest, [f"{manifest.get('apiVersion')} {kind} is not taken: send a {known}"]
    reasons = list(_of_metadata(name, kind, manifest)) + list(_of_spec(kind, manifest.get("spec"), content))
    if version not in versions:
        reasons.append(f"{kind} of {group} has no version {version!r}: use {' or '.join(versions)}")
    return manifest, reasons


def _check_aliases(content: str) -> None:
    import yaml

    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadManifest(f"not a manifest: {' '.join(str(error).split())[:300]}") from error
    if aliases > _MOST_ALIASES:
        raise BadManifest("YAML aliases (*name) are not taken: write the value out")


def _of_metadata(name: str, kind: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        yield "metadata is missing: give at least metadata.name"
        return
    if metadata.get("name") != name:
        yield f"metadata.name is {metadata.get('name')!r} and policy_name {name!r}: they must be the same"
    if kind == "Policy" and not isinstance(metadata.get("namespace"), str):
        yield "a Policy needs metadata.namespace; a ClusterPolicy is for all namespaces"
    if kind != "Policy" and "namespace" in metadata:
        yield f"a {kind} has no namespace: remove metadata.namespace"
    for field in ("labels", "annotations"):
        given = metadata.get(field, {})
        if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
            yield f"metadata.{field} must be an object of texts: quote numbers and true or false"
    for field in _OF_THE_API:
        if field in metadata:
            yield f"metadata.{field} is the API server's to set: remove it"
    if unknown := sorted(set(manifest) - {"apiVersion", "kind", "metadata", "spec", "status"}):
        yield f"{unknown[0]!r} is no field of a {kind}: remove it"
    if "status" in manifest:
        yield "status is Kyverno's to write: remove it"


def _of_spec(kind: str, spec: Any, content: str) -> Iterator[str]:
    if not isinstance(spec, dict) or not spec:
        yield "spec is missing or empty: give the rules"
        return
    if _CALLING.search(content):
        yield "the policy calls out by http: decide by the object alone"
    if kind == "ValidatingPolicy":
        if not isinstance(spec.get("validations"), list) or not spec["validations"]:
            yield "spec.validations must be a list of at least one validation"
        return
    rules = spec.get("rules")
    if not isinstance(rules, list) or not rules:
        yield "spec.rules must be a list of at least one rule"
        return
    for number, rule in enumerate(rules, 1):
        yield from _of_rule(f"rule {number}", rule)


def _of_rule(place: str, rule: Any) -> Iterator[str]:
    if not isinstance(rule, dict) or not isinstance(rule.get("name"), str) or not rule["name"]:
        yield f"{place} has no name"
        return
    place = f"rule {rule['name'][:63]!r}"
    if changing := sorted({"mutate", "generate"} & set(rule)):
        yield f"{place}: {changing[0]} changes the cluster with Kyverno's rights; this API takes rules that refuse"
    elif not any(kind in rule for kind in _RULE_KINDS):
        yield f"{place} neither validates nor verifies images: give it `validate` or `verifyImages`"
    if not isinstance(rule.get("match"), dict) or not rule["match"]:
        yield f"{place} matches nothing: give it `match`"
    if _calls_out(rule):
        yield f"{place}: a context that calls a service reaches beyond the question; remove it"


def _calls_out(value: Any) -> bool:
    """Whether anything within asks a service by `apiCall`."""
    if isinstance(value, dict):
        call = value.get("apiCall")
        return (isinstance(call, dict) and "service" in call) or any(map(_calls_out, value.values()))
    return isinstance(value, list) and any(map(_calls_out, value))
