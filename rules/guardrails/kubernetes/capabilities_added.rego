package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No capability is added but NET_BIND_SERVICE
# description: A port below 1024 is the one reason that many programs have.
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Capabilities; CIS 5.2.8, 5.2.9'
#   severity: medium
#   remediation: Take everything else out of capabilities.add.
holds contains "capabilities_added" if {
	every container in objects.containers { capabilities_added_ok(container) }
}

reason["capabilities_added"] := objects.told("capabilities are added in", [container |
	some container in objects.containers
	not capabilities_added_ok(container)
])

capabilities_added_ok(container) if {
	every name in objects.list(container, ["securityContext", "capabilities", "add"]) {
		name == "NET_BIND_SERVICE"
	}
}
