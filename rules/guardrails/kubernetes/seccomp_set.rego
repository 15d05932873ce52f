package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: A seccomp profile is set
# description: Without a profile most clusters run the container unconfined.
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Seccomp; CIS 5.7.2; NSA: Pod security'
#   severity: medium
#   remediation: Set securityContext.seccompProfile.type to RuntimeDefault for the pod.
holds contains "seccomp_set" if {
	objects.at(objects.spec, ["securityContext", "seccompProfile", "type"], "") in seccomp_profiles
	every container in objects.containers {
		objects.at(container, ["securityContext", "seccompProfile", "type"], "RuntimeDefault") in seccomp_profiles
	}
}

holds contains "seccomp_set" if {
	every container in objects.containers { seccomp_set_ok(container) }
}

reason["seccomp_set"] := objects.told("no seccomp profile in", [c |
	some c in objects.containers
	not seccomp_set_ok(c)
])

seccomp_profiles := {"RuntimeDefault", "Localhost"}

seccomp_set_ok(container) if {
	objects.at(container, ["securityContext", "seccompProfile", "type"], "") in seccomp_profiles
}
