package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No capabilities beyond the usual ones
# description: Capabilities such as SYS_ADMIN or NET_RAW give the container powers over the node or its network.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Capabilities; CIS 5.2.9; NSA: Pod security'
#   severity: high
#   remediation: Drop the capability from capabilities.add.
holds contains "capabilities" if {
	every container in objects.containers { capabilities_ok(container) }
}

reason["capabilities"] := objects.told("capabilities that are not allowed are added by", [container |
	some container in objects.containers
	not capabilities_ok(container)
])

capabilities_ok(container) if {
	every name in objects.list(container, ["securityContext", "capabilities", "add"]) {
		name in usual_capabilities
	}
}

usual_capabilities := {
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
	"NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}
