package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Memory requested is the limit
# description: A pod that may use more than it asked for is the first to be killed when the node runs short.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Resource policies'
#   severity: low
#   remediation: Set requests.memory to limits.memory.
holds contains "memory_fixed" if {
	every container in objects.main { memory_fixed_ok(container) }
}

reason["memory_fixed"] := objects.told("memory requested is not the limit in", [container |
	some container in objects.main
	not memory_fixed_ok(container)
])

memory_fixed_ok(container) if {
	asked := objects.at(container, ["resources", "requests", "memory"], "")
	asked == objects.at(container, ["resources", "limits", "memory"], "")
}
