package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Requests and limits are stated
# description: Without them one pod can starve its node.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Resource policies; CIS 5.7.1'
#   severity: medium
#   remediation: State requests for cpu and memory and a limit for memory in every container.
holds contains "requests_and_limits" if {
	every container in objects.containers { requests_and_limits_ok(container) }
}

reason["requests_and_limits"] := objects.told("requests or limits are missing in", [container |
	some container in objects.containers
	not requests_and_limits_ok(container)
])

requests_and_limits_ok(container) if {
	objects.stated(container, ["resources", "requests", "cpu"])
	objects.stated(container, ["resources", "requests", "memory"])
	objects.stated(container, ["resources", "limits", "memory"])
}
