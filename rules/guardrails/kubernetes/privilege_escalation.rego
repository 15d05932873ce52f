package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No way to more privileges
# description: 'Without allowPrivilegeEscalation: false a setuid program gives the process more than its parent has.'
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Privilege Escalation; CIS 5.2.6; NSA: Pod security'
#   severity: high
#   remediation: Set securityContext.allowPrivilegeEscalation to false in every container.
holds contains "privilege_escalation" if {
	every container in objects.containers { privilege_escalation_ok(container) }
}

reason["privilege_escalation"] := objects.told("privilege escalation is not ruled out in", [container |
	some container in objects.containers
	not privilege_escalation_ok(container)
])

privilege_escalation_ok(container) if {
	objects.at(container, ["securityContext", "allowPrivilegeEscalation"], true) == false
}
