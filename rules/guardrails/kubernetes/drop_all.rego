package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Capabilities are dropped first
# description: A container starts with capabilities that few programs need.
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Capabilities; CIS 5.2.8; NSA: Pod security'
#   severity: medium
#   remediation: 'Set capabilities.drop to [ALL] in every container.'
holds contains "drop_all" if {
	every container in objects.containers { drop_all_ok(container) }
}

reason["drop_all"] := objects.told("ALL is not dropped in", [container |
	some container in objects.containers
	not drop_all_ok(container)
])

drop_all_ok(container) if "ALL" in objects.dropped(container)
