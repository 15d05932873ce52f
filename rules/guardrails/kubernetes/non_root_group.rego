package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No primary group 0
# description: runAsGroup has to be above 0 for the pod, or for each container; no container may take it back.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.2.7; NSA: Pod security'
#   severity: medium
#   remediation: Set securityContext.runAsGroup above 0.
holds contains "non_root_group" if {
	objects.above_zero(objects.at(objects.spec, ["securityContext", "runAsGroup"], 0))
	every container in objects.containers {
		objects.above_zero(objects.at(container, ["securityContext", "runAsGroup"], 1))
	}
}

holds contains "non_root_group" if {
	every container in objects.containers { non_root_group_ok(container) }
}

reason["non_root_group"] := objects.told("no group above 0 in", [c |
	some c in objects.containers
	not non_root_group_ok(c)
])

non_root_group_ok(container) if objects.above_zero(objects.at(container, ["securityContext", "runAsGroup"], 0))
