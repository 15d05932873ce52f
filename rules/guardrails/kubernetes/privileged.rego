package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No privileged containers
# description: A privileged container is root on the node.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Privileged Containers; CIS 5.2.2; NSA: Pod security'
#   severity: critical
#   remediation: Remove securityContext.privileged, and add the one capability that is needed.
holds contains "privileged" if {
	every container in objects.containers { privileged_ok(container) }
}

reason["privileged"] := objects.told("privileged", [container |
	some container in objects.containers
	not privileged_ok(container)
])

privileged_ok(container) if objects.at(container, ["securityContext", "privileged"], false) == false
