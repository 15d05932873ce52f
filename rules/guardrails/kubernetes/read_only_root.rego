package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: The root file system is read-only
# description: What cannot be written cannot be replaced by an intruder.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.7.3; NSA: Immutable container file systems'
#   severity: medium
#   remediation: Set readOnlyRootFilesystem to true, and mount an emptyDir where it writes.
holds contains "read_only_root" if {
	every container in objects.main { read_only_root_ok(container) }
}

reason["read_only_root"] := objects.told("the root file system is writable in", [container |
	some container in objects.main
	not read_only_root_ok(container)
])

read_only_root_ok(container) if {
	objects.at(container, ["securityContext", "readOnlyRootFilesystem"], false) == true
}
