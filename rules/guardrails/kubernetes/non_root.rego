package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Containers must not be root
# description: runAsNonRoot has to be true for the pod, or for each container; no container may take it back.
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Running as Non-root; CIS 5.2.7; NSA: Pod security'
#   severity: high
#   remediation: Set securityContext.runAsNonRoot to true.
holds contains "non_root" if {
	objects.at(objects.spec, ["securityContext", "runAsNonRoot"], false) == true
	every container in objects.containers {
		objects.at(container, ["securityContext", "runAsNonRoot"], true) == true
	}
}

holds contains "non_root" if {
	every container in objects.containers { non_root_ok(container) }
}

reason["non_root"] := objects.told("runAsNonRoot is not true in", [c |
	some c in objects.containers
	not non_root_ok(c)
])

non_root_ok(container) if objects.at(container, ["securityContext", "runAsNonRoot"], false) == true
