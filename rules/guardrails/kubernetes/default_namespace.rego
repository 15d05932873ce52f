package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Nothing runs in the namespace default
# description: A namespace is what policies and quotas hang on.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.7.4
#   severity: low
#   remediation: Name a namespace of its own in metadata.namespace.
holds contains "default_namespace" if objects.bystander

holds contains "default_namespace" if {
	objects.workload
	namespace := objects.at(input.object, ["metadata", "namespace"], "default")
	not namespace in {"", "default"}
}

reason["default_namespace"] := objects.said(
	"namespace",
	objects.at(input.object, ["metadata", "namespace"], "default"),
)
