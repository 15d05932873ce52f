package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: An image without a version is pulled every time
# description: Otherwise the copy on the node decides which latest it is.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.5.1
#   severity: low
#   remediation: Set imagePullPolicy to Always, or name a version.
holds contains "pull_always" if {
	every container in objects.main { pull_always_ok(container) }
}

reason["pull_always"] := objects.told("imagePullPolicy is not Always in", [container |
	some container in objects.main
	not pull_always_ok(container)
])

pull_always_ok(container) if objects.at(container, ["imagePullPolicy"], "") == "Always"

pull_always_ok(container) if {
	is_string(container.image)
	contains(container.image, ":")
	not endswith(container.image, ":latest")
}
