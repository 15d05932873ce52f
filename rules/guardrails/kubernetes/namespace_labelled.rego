package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Namespaces state their pod security
# description: Without a label a namespace takes whatever the cluster defaults to, mostly privileged.
# scope: rule
# custom:
#   profile: practices
#   standard: 'PSS: Pod Security Admission; CIS 5.2.1'
#   severity: medium
#   remediation: Add the label pod-security.kubernetes.io/enforce.
holds contains "namespace_labelled" if objects.other_than({"Namespace"})

holds contains "namespace_labelled" if {
	objects.kind in {"Namespace"}
	labels := objects.at(input.object, ["metadata", "labels"], {})
	is_object(labels)
	some name, level in labels
	startswith(name, "pod-security.kubernetes.io/")
	level != ""
}

reason["namespace_labelled"] := objects.said("labels", objects.at(input.object, ["metadata", "labels"], {}))
