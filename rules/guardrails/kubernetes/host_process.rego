package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No HostProcess containers
# description: A Windows HostProcess container has the node, not a container.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: HostProcess; CIS 5.2.11'
#   severity: critical
#   remediation: Remove windowsOptions.hostProcess or set it to false.
holds contains "host_process" if {
	every holder in objects.holders { host_process_ok(holder) }
}

reason["host_process"] := objects.told("HostProcess asked for by", [h |
	some h in objects.holders
	not host_process_ok(h)
])

host_process_ok(holder) if {
	objects.at(holder, ["securityContext", "windowsOptions", "hostProcess"], false) == false
}
