package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No namespace for privileged pods
# description: 'pod-security.kubernetes.io/enforce: privileged switches Pod Security Admission off.'
# scope: rule
# custom:
#   profile: practices
#   standard: 'PSS: Pod Security Admission; CIS 5.2.1'
#   severity: high
#   remediation: Enforce baseline or restricted.
holds contains "namespace_not_privileged" if objects.other_than({"Namespace"})

holds contains "namespace_not_privileged" if {
	objects.kind in {"Namespace"}
	objects.at(input.object, ["metadata", "labels", "pod-security.kubernetes.io/enforce"], "baseline") != "privileged"
}

reason["namespace_not_privileged"] := objects.said(
	"enforce",
	objects.at(input.object, ["metadata", "labels", "pod-security.kubernetes.io/enforce"], "not set"),
)
