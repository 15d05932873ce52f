package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: The masks over /proc stay
# description: An unmasked /proc shows and changes what belongs to the kernel of the node.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: /proc Mount Type'
#   severity: high
#   remediation: Remove procMount.
holds contains "proc_mount" if {
	every container in objects.containers { proc_mount_ok(container) }
}

reason["proc_mount"] := objects.told("an unmasked /proc in", [container |
	some container in objects.containers
	not proc_mount_ok(container)
])

proc_mount_ok(container) if objects.at(container, ["securityContext", "procMount"], "Default") == "Default"
