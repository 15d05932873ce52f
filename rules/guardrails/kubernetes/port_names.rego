package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Ports have names
# description: A Service or a policy that names its port survives a change of the number.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Name every container port.
holds contains "port_names" if {
	every container in objects.main { port_names_ok(container) }
}

reason["port_names"] := objects.told("ports without a name in", [container |
	some container in objects.main
	not port_names_ok(container)
])

port_names_ok(container) if {
	every port in objects.list(container, ["ports"]) { objects.stated(port, ["name"]) }
}
