package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No ports of the host
# description: A hostPort opens the port on the node, past Services and most network policies.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Host Ports; CIS 5.2.13'
#   severity: high
#   remediation: Remove hostPort and use a Service.
holds contains "host_ports" if {
	every container in objects.containers { host_ports_ok(container) }
}

reason["host_ports"] := objects.told("ports of the host are taken by", [container |
	some container in objects.containers
	not host_ports_ok(container)
])

host_ports_ok(container) if {
	every port in objects.list(container, ["ports"]) { objects.at(port, ["hostPort"], 0) == 0 }
}
