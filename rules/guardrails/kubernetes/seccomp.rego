package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Seccomp is not switched off
# description: Unconfined opens every system call of the kernel.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Seccomp; CIS 5.7.2; NSA: Pod security'
#   severity: high
#   remediation: Use RuntimeDefault or Localhost.
holds contains "seccomp" if {
	every holder in objects.holders { seccomp_ok(holder) }
}

reason["seccomp"] := objects.told("seccomp is off in", [holder |
	some holder in objects.holders
	not seccomp_ok(holder)
])

seccomp_ok(holder) if {
	profile := objects.at(holder, ["securityContext", "seccompProfile", "type"], "RuntimeDefault")
	profile in {"RuntimeDefault", "Localhost"}
}
